"""What is decided once for jobs that stand alike is what would be decided for each."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from reactorcide.eventstore.alike import Repeats, decided_alike
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import JobEvent, JobSubmitted
from reactorcide.eventstore.domain.job import (
    JOB,
    ClaimJob,
    Completed,
    FinishAttempt,
    JobCommand,
    JobState,
    StartJob,
    alike,
    likewise,
)
from reactorcide.eventstore.handle import Change, decided
from reactorcide.eventstore.record import SYSTEM, Append
from reactorcide.tests.eventstore.domain.job_strategies import job_histories, requests
from reactorcide.tests.eventstore.domain.samples import NOW, OWNER, WORKER_ID
from reactorcide.tests.eventstore.domain.strategies import take
from reactorcide.tests.support.effort import examples

REPEATS: Final = Repeats(alike, likewise)

_labelled: Final = requests.map(
    lambda one: one.model_copy(update={"priority": 3, "labels": {"os": "linux"}, "name": "other"})
)


@st.composite
def lives(draw: st.DrawFn) -> list[JobState]:
    """Draw how one job stood from its beginning on; at any time, in any lawful way."""
    history = draw(job_histories())
    return [JOB.initial, *(step.after for step in history.steps)]


@st.composite
def many_states(draw: st.DrawFn) -> list[JobState]:
    """Draw states of several jobs, and the same ones with the requests of others."""
    states = [state for life in draw(st.lists(lives(), min_size=1, max_size=4)) for state in life]
    others = draw(st.lists(requests | _labelled, min_size=1, max_size=3))
    again = [
        state._replace(submitted=other)
        for state in states
        if state.submitted is not None
        for other in others
    ]
    return states + again


exit_codes: Final = st.sampled_from((None, 0))
commands: Final[st.SearchStrategy[Callable[[int], JobCommand]]] = st.one_of(
    st.booleans().map(lambda starts: lambda _attempt: ClaimJob(WORKER_ID, 15, NOW, starts)),
    st.just(StartJob),
    exit_codes.map(
        lambda code: lambda attempt: FinishAttempt(attempt, Completed(None, code), NOW, 0.5)
    ),
)


def decision(
    state: JobState, command: JobCommand
) -> tuple[tuple[JobEvent, ...], type[CommandRejected] | None]:
    """Return what the rules say of it: the events, or the kind of refusal."""
    step = take(JOB, state, command)
    return step.events, None if step.refusal is None else type(step.refusal)


@settings(max_examples=examples(30), deadline=None)
@given(many_states(), commands, st.integers(-1, 1))
def test_jobs_that_are_alike_are_decided_alike(
    states: list[JobState], of_attempt: Callable[[int], JobCommand], offset: int
) -> None:
    """And the state of each afterwards is `likewise` of the other's: claim, start, completion."""
    models: dict[object, JobState] = {}
    for state in states:
        model = models.setdefault(alike(state), state)
        command = of_attempt(model.attempt + offset)
        assert decision(state, command) == decision(model, command)
        after, model_after = take(JOB, state, command).after, take(JOB, model, command).after
        assert likewise(state, model_after) == after
        assert type(likewise(state, model_after)) is JobState


@settings(max_examples=examples(20), deadline=None)
@given(many_states(), commands, st.integers(0, 3))
def test_deciding_for_many_is_deciding_for_each(
    states: list[JobState], of_attempt: Callable[[int], JobCommand], attempt: int
) -> None:
    """The same events, versions and states, in the same order; what is refused is left out.

    One decision for all that are said alike at one version.
    """
    command = of_attempt(attempt)
    streams = [(UUID(int=nth), state, nth % 3) for nth, state in enumerate(states)]
    decisions = decided_alike(JOB, REPEATS, streams, command, SYSTEM)
    expected = {
        change.stream_id: (append, change) for append, change in one_by_one(streams, command)
    }
    assert len({(one.events, one.append.version) for one in decisions}) == len(decisions)
    for one in decisions:
        assert one.append.stream_ids == sorted(one.append.stream_ids)
        for append, change in zip(one.append.each(), one.changes(likewise), strict=True):
            wanted, wanted_change = expected.pop(change.stream_id)
            assert change == wanted_change
            assert append[:3] == wanted[:3]
            assert [event[1:] for event in append.events] == [event[1:] for event in wanted.events]
    assert expected == {}
    event_ids = [
        event.event_id
        for one in decisions
        for append in one.append.each()
        for event in append.events
    ]
    assert len(set(event_ids)) == len(event_ids)


def one_by_one(
    streams: Sequence[tuple[UUID, JobState, int]], command: JobCommand
) -> list[tuple[Append, Change[JobState]]]:
    """Ask the rules of each stream by itself."""
    units = []
    for stream_id, state, version in streams:
        try:
            unit = decided(JOB, state, version, stream_id, command, SYSTEM)
        except CommandRejected:
            continue
        if unit is not None:
            units.append(unit)
    return units


@given(requests, requests)
def test_a_command_and_a_handler_are_never_alike(one: JobSubmitted, other: JobSubmitted) -> None:
    """The rules tell them apart; whatever else was asked for makes no difference."""
    first, second = JobState(submitted=one), JobState(submitted=other)
    assert (alike(first) == alike(second)) is ((one.handler is None) == (other.handler is None))


def test_likewise_keeps_the_jobs_own_request() -> None:
    """Nothing of the other job's is taken over."""
    own = JobSubmitted(user_id=OWNER, name="own", handler="mail.send", args={"to": "ada"})
    other = own.model_copy(update={"name": "other", "args": None})
    model = take(JOB, JobState(submitted=other), StartJob(0)).after
    assert likewise(JobState(submitted=own), model).submitted is own
