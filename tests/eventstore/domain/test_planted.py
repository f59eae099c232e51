"""Broken rules break the laws: the properties would notice.

Each variant plants one bug in the real rules; the law named beside it must find an example.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import (
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobEvent,
    JobLeaseExpired,
    JobReleased,
    JobRetryScheduled,
)
from reactorcide.eventstore.domain.job import (
    FINAL,
    HELD,
    JOB,
    CancelJob,
    ClaimJob,
    Completed,
    ExpireLease,
    Failed,
    FinishAttempt,
    JobCommand,
    JobState,
    QueueJob,
    Released,
    StartJob,
    Status,
    SubmitJob,
    decide,
    evolve,
)
from reactorcide.tests.eventstore.domain import laws
from reactorcide.tests.eventstore.domain.job_strategies import job_histories

Decide = Callable[[JobState, JobCommand], tuple[JobEvent, ...]]
Evolve = Callable[[JobState, JobEvent], JobState]

SEARCH: Final = settings(
    max_examples=3_000,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def lets_a_stale_attempt_finish(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets to compare the attempt."""
    if isinstance(command, FinishAttempt) and state.status in HELD:
        return decide(state, replace(command, attempt=state.attempt))
    return decide(state, command)


def lets_a_lost_attempt_finish(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Compares the attempt, and forgets that its lease is gone."""
    is_latest = isinstance(command, FinishAttempt) and command.attempt == state.attempt > 0
    if is_latest and state.status is Status.QUEUED:
        return (JobCompleted(attempt=state.attempt),)
    return decide(state, command)


def leaves_a_final_state(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Claims a job that ended."""
    if isinstance(command, ClaimJob) and state.status in FINAL:
        return decide(state._replace(status=Status.QUEUED, available_at=None), command)
    return decide(state, command)


def starts_twice(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets that the attempt runs already."""
    if isinstance(command, StartJob) and state.status is Status.RUNNING:
        return decide(state._replace(status=Status.CLAIMED), command)
    return decide(state, command)


def cancels_again_and_again(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets that somebody asked already."""
    if isinstance(command, CancelJob):
        return decide(state._replace(cancel_grace_seconds=None), command)
    return decide(state, command)


def turns_a_kill_into_a_cancel(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Takes any other grace for a new one."""
    if isinstance(command, CancelJob) and state.status is Status.RUNNING:
        grace_seconds = command.grace_seconds
        is_so = grace_seconds == state.cancel_grace_seconds
        return () if is_so else (JobCancelRequested(grace_seconds=grace_seconds),)
    return decide(state, command)


def retries_for_ever(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets `max_attempts`."""
    if isinstance(command, FinishAttempt) and isinstance(command.outcome, Failed):
        return decide(state._replace(failures=-1), command)
    return decide(state, command)


def never_gives_up_on_lost_leases(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets that three are enough."""
    if isinstance(command, ExpireLease):
        return decide(state._replace(lost_leases=0), command)
    return decide(state, command)


def forgets_the_time_of_a_lost_attempt(
    state: JobState, command: JobCommand
) -> tuple[JobEvent, ...]:
    """Queues again what should have ended long ago."""
    if isinstance(command, ExpireLease):
        return decide(state, replace(command, started_at=None))
    return decide(state, command)


def claims_too_early(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets the wait between attempts."""
    if isinstance(command, ClaimJob):
        return decide(state._replace(available_at=None), command)
    return decide(state, command)


def forgets_a_dependency(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Queues when some of the dependencies have completed."""
    if isinstance(command, QueueJob) and command.completed and state.submitted:
        return decide(state, replace(command, completed=frozenset(state.submitted.depends_on)))
    return decide(state, command)


def requeues_what_was_cancelled(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Lets a release win over a cancel."""
    is_release = isinstance(command, FinishAttempt) and isinstance(command.outcome, Released)
    if is_release and state.cancel_grace_seconds is not None:
        return decide(state._replace(cancel_grace_seconds=None), command)
    return decide(state, command)


def completes_what_never_started(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets that a command, unlike a handler, is known to have begun."""
    is_completed = isinstance(command, FinishAttempt) and isinstance(command.outcome, Completed)
    if is_completed and state.status is Status.CLAIMED:
        return decide(state._replace(status=Status.RUNNING), command)
    return decide(state, command)


def submits_twice(state: JobState, command: JobCommand) -> tuple[JobEvent, ...]:
    """Forgets that the stream exists."""
    if isinstance(command, SubmitJob):
        return decide(JOB.initial, command)
    return decide(state, command)


def counts_no_failures(state: JobState, event: JobEvent) -> JobState:
    """Folds a retry without counting it."""
    after = evolve(state, event)
    return after._replace(failures=0) if isinstance(event, JobRetryScheduled) else after


def counts_a_lost_lease_as_a_failure(state: JobState, event: JobEvent) -> JobState:
    """Takes a dead worker for a broken command."""
    after = evolve(state, event)
    lost = isinstance(event, JobLeaseExpired)
    return after._replace(failures=after.failures + 1) if lost else after


def keeps_the_holder_of_a_released_job(state: JobState, event: JobEvent) -> JobState:
    """Leaves the worker's name on what it gave back."""
    after = evolve(state, event)
    released = isinstance(event, JobReleased)
    return after._replace(worker_id=state.worker_id) if released else after


def remembers_who_came_before(state: JobState, event: JobEvent) -> JobState:
    """Numbers a second attempt as the first."""
    after = evolve(state, event)
    return after._replace(attempt=1) if isinstance(event, JobClaimed) else after


DECIDED: Final[tuple[tuple[Decide, laws.JobLaw], ...]] = (
    (lets_a_stale_attempt_finish, laws.a_stale_attempt_writes_nothing),
    (lets_a_lost_attempt_finish, laws.a_stale_attempt_writes_nothing),
    (leaves_a_final_state, laws.an_end_is_an_end),
    (leaves_a_final_state, laws.every_event_is_legal),
    (starts_twice, laws.repeating_adds_nothing),
    (cancels_again_and_again, laws.repeating_adds_nothing),
    (turns_a_kill_into_a_cancel, laws.a_grace_only_gets_shorter),
    (retries_for_ever, laws.limits_hold),
    (never_gives_up_on_lost_leases, laws.limits_hold),
    (
        forgets_the_time_of_a_lost_attempt,
        laws.a_lost_attempt_times_out_when_its_time_is_long_over,
    ),
    (claims_too_early, laws.nothing_starts_before_its_time),
    (forgets_a_dependency, laws.nothing_starts_before_what_it_waits_for),
    (requeues_what_was_cancelled, laws.a_cancelled_job_never_starts_again),
    (completes_what_never_started, laws.a_command_completes_only_once_it_runs),
    (submits_twice, laws.every_event_is_legal),
)

EVOLVED: Final[tuple[tuple[Evolve, laws.JobLaw], ...]] = (
    (counts_no_failures, laws.counts_are_those_of_the_events),
    (counts_a_lost_lease_as_a_failure, laws.counts_are_those_of_the_events),
    (keeps_the_holder_of_a_released_job, laws.who_holds_a_job_is_known),
    (remembers_who_came_before, laws.counts_are_those_of_the_events),
)


def breaks(law: laws.JobLaw, history: laws.JobHistory) -> bool:
    """Return whether the history breaks the law."""
    try:
        law(history)
    except AssertionError:
        return True
    return False


def counterexample(
    decider: Decider[JobState, JobCommand, JobEvent], law: laws.JobLaw
) -> laws.JobHistory:
    """Return a history under these rules that breaks the law. Raises NoSuchExample."""
    return find(
        job_histories(decider),
        lambda history: breaks(law, history),
        settings=SEARCH,
        random=random.Random(1),  # noqa: S311  the same search in every run
    )


@pytest.mark.parametrize(("broken", "law"), DECIDED)
def test_a_bug_in_what_is_decided_is_found(broken: Decide, law: laws.JobLaw) -> None:
    """The search meets a history that breaks the law."""
    assert breaks(law, counterexample(replace(JOB, decide=broken), law))


@pytest.mark.parametrize(("broken", "law"), EVOLVED)
def test_a_bug_in_what_is_folded_is_found(broken: Evolve, law: laws.JobLaw) -> None:
    """The search meets a history that breaks the law."""
    assert breaks(law, counterexample(replace(JOB, evolve=broken), law))


def test_the_same_search_finds_nothing_in_the_real_rules() -> None:
    """So it is the bug that it finds."""

    def breaks_any(history: laws.JobHistory) -> bool:
        return any(breaks(law, history) for law in (*laws.LAWS, *laws.JOB_LAWS))

    with pytest.raises(NoSuchExample):
        find(job_histories(), breaks_any, settings=settings(SEARCH, max_examples=200))
