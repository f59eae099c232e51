"""What holds for every history, said without the code of the rules.

Each law takes a History and raises AssertionError when it is broken.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from reactorcide.eventstore.codec import Encoded, decode, encode
from reactorcide.eventstore.domain import access_report, job, projection, token, user, worker
from reactorcide.eventstore.domain.decider import fold
from reactorcide.eventstore.domain.errors import CommandRejected, NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.events import (
    Event,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobDeleted,
    JobEvent,
    JobFailed,
    JobLeaseExpired,
    JobQueued,
    JobReleased,
    JobRetryScheduled,
    JobSubmitted,
    JobTimedOut,
)
from reactorcide.eventstore.domain.job import (
    OVERDUE_SECONDS,
    ClaimJob,
    Completed,
    ExpireLease,
    FinishAttempt,
    JobCommand,
    JobState,
    QueueJob,
    StartJob,
)
from reactorcide.tests.eventstore.domain.strategies import History

JobHistory: TypeAlias = History[JobState, JobCommand, JobEvent]
Law: TypeAlias = Callable[[History[Any, Any, Any]], None]
JobLaw: TypeAlias = Callable[[JobHistory], None]

_TABLES: Final[dict[str, Any]] = {
    "job": job.TRANSITIONS,
    "token": token.TRANSITIONS,
    "user": user.TRANSITIONS,
    "worker": worker.TRANSITIONS,
    "projection": projection.TRANSITIONS,
    "access": access_report.TRANSITIONS,
}

_ENDS: Final = {
    "job": {"completed", "failed", "cancelled", "timeout", "deleted"},
    "token": {"revoked"},
    "user": {"inactive"},
    "worker": {"stopped"},
    "projection": set(),
    "access": {"recorded"},
}


def every_event_is_legal(history: History[Any, Any, Any]) -> None:
    """What is decided stands in the row of the status it follows, and leads where that says."""
    table = _TABLES[history.decider.stream_type]
    for step in history.steps:
        status = step.before.status
        for event in step.events:
            for kind in _steps(event):
                assert kind in table[status], f"{event} after {status}"
                status = table[status][kind]
        assert step.after.status is status


def _steps(event: Event) -> tuple[type[Event], ...]:
    """Return the steps that an event takes in the table: a job that waits for nothing two."""
    if isinstance(event, JobSubmitted) and not event.waits:
        return JobSubmitted, JobQueued
    return (type(event),)


def the_fold_is_the_state(history: History[Any, Any, Any]) -> None:
    """The events alone say how the stream stands."""
    assert fold(history.decider, history.events) == history.state


def a_prefix_and_the_rest_are_the_whole(history: History[Any, Any, Any]) -> None:
    """A fold may stop anywhere and go on from there."""
    decider, events = history.decider, history.events
    for cut in range(len(events) + 1):
        assert fold(decider, events[cut:], fold(decider, events[:cut])) == history.state


def an_end_is_an_end(history: History[Any, Any, Any]) -> None:
    """Nothing follows but the deletion of a job, once."""
    ends = _ENDS[history.decider.stream_type]
    for step in history.steps:
        if step.before.status in ends:
            assert step.events in ((), (JobDeleted(),))
            assert not step.events or step.before.status != "deleted"


def repeating_adds_nothing(history: History[Any, Any, Any]) -> None:
    """A command that comes twice is "already so", or refused."""
    for step in history.steps:
        if step.events:
            try:
                again: tuple[Event, ...] = history.decider.decide(step.after, step.command)
            except CommandRejected:
                continue
            assert again == (), f"{step.command} twice"


def a_refusal_tells_the_status(history: History[Any, Any, Any]) -> None:
    """The caller need not read to know why."""
    for step in history.steps:
        if isinstance(step.refusal, NotLegal):
            assert step.refusal.current_status == step.before.status


def limits_hold(history: JobHistory) -> None:
    """Failures up to `max_attempts`, three lost leases, and then it is over."""
    for step in history.steps:
        state = step.after
        if state.submitted is None:
            continue
        assert state.failures <= state.submitted.max_attempts
        assert state.lost_leases <= 3
        if state.failures == state.submitted.max_attempts or state.lost_leases == 3:
            assert state.status in _ENDS["job"]


def counts_are_those_of_the_events(history: JobHistory) -> None:
    """The state counts what the log holds."""
    events, state = history.events, history.state
    failed = [
        event
        for before, event in zip((None, *events), events, strict=False)
        if isinstance(event, JobRetryScheduled)
        or (isinstance(event, JobFailed | JobTimedOut) and not isinstance(before, JobLeaseExpired))
    ]
    claims = [event.attempt for event in events if isinstance(event, JobClaimed)]
    assert claims == list(range(1, state.attempt + 1))
    assert state.failures == len(failed)
    assert state.lost_leases == sum(isinstance(event, JobLeaseExpired) for event in events)


def a_stale_attempt_writes_nothing(history: JobHistory) -> None:
    """Only the latest attempt, only while it holds the lease."""
    for step in history.steps:
        command, state = step.command, step.before
        if not isinstance(command, StartJob | FinishAttempt | ExpireLease):
            continue
        if command.attempt == state.attempt and state.status in {"claimed", "running"}:
            continue
        assert step.events == (), f"{command} in {state.status} at {state.attempt}"
        is_late = isinstance(step.refusal, NotLeaseHolder)
        assert is_late is not isinstance(command, ExpireLease)


def nothing_starts_before_its_time(history: JobHistory) -> None:
    """Neither the queue nor a claim is early, and a retry waits as long as it says."""
    for step in history.steps:
        command, available_at = step.command, step.before.available_at
        for event in step.events:
            if isinstance(event, JobClaimed | JobQueued) and isinstance(
                command, ClaimJob | QueueJob
            ):
                assert available_at is None or available_at <= command.now
            if isinstance(event, JobRetryScheduled) and isinstance(
                command, FinishAttempt | ExpireLease
            ):
                assert step.before.submitted is not None
                wait = step.before.submitted.retry_backoff_seconds * 2**step.before.failures
                low, high = timedelta(seconds=wait * 0.899), timedelta(seconds=wait * 1.101)
                assert low <= event.retry_at - command.now <= high


def a_lost_attempt_times_out_when_its_time_is_long_over(history: JobHistory) -> None:
    """Then it is not simply queued again; and before it is never said to have timed out."""
    for step in history.steps:
        command, submitted = step.command, step.before.submitted
        if not isinstance(command, ExpireLease) or submitted is None or not step.events:
            continue
        limit = timedelta(seconds=submitted.timeout_seconds + OVERDUE_SECONDS)
        is_overdue = command.started_at is not None and command.now - command.started_at > limit
        is_timeout = isinstance(step.events[-1], JobTimedOut | JobRetryScheduled)
        assert is_overdue or not is_timeout
        assert not is_overdue or not isinstance(step.events[-1], JobLeaseExpired)


def nothing_starts_before_what_it_waits_for(history: JobHistory) -> None:
    """A job that waited is queued when all its dependencies have completed."""
    for step in history.steps:
        if isinstance(step.command, QueueJob) and step.events:
            assert step.before.submitted is not None
            assert set(step.before.submitted.depends_on) <= step.command.completed


def a_cancelled_job_never_starts_again(history: JobHistory) -> None:
    """Once asked to stop it runs on, or ends."""
    is_asked = False
    for event in history.events:
        goes_on = isinstance(event, JobClaimed | JobReleased | JobRetryScheduled)
        assert not (is_asked and goes_on), f"{event} after a request to cancel"
        is_asked = is_asked or isinstance(event, JobCancelRequested)


def a_grace_only_gets_shorter(history: JobHistory) -> None:
    """A kill stays a kill."""
    graces = [e.grace_seconds for e in history.events if isinstance(e, JobCancelRequested)]
    assert graces == sorted(set(graces), reverse=True)


def who_holds_a_job_is_known(history: JobHistory) -> None:
    """A worker while it is claimed or runs; nobody while it waits."""
    for step in history.steps:
        if step.after.status in {"claimed", "running"}:
            assert step.after.worker_id is not None
        if step.after.status in {"submitted", "queued"}:
            assert step.after.worker_id is None


def a_command_completes_only_once_it_runs(history: JobHistory) -> None:
    """Without a recorded start only a handler's job completes: its end overtakes its start."""
    for step in history.steps:
        if any(isinstance(event, JobCompleted) for event in step.events):
            assert step.before.submitted is not None
            is_handlers = step.before.submitted.handler is not None
            assert step.before.status == "running" or (
                is_handlers and step.before.status == "claimed"
            )


def what_completed_is_recorded_as_it_was(history: JobHistory) -> None:
    """Exit code and result are the outcome's own."""
    for step in history.steps:
        for event in step.events:
            if isinstance(event, JobCompleted):
                assert isinstance(step.command, FinishAttempt)
                outcome = step.command.outcome
                assert isinstance(outcome, Completed)
                assert (event.exit_code, event.result) == (outcome.exit_code, outcome.result)


def the_log_keeps_every_event_as_it_is(history: History[Any, Any, Any]) -> None:
    """What was encoded is decoded the same, nulls inside of a JSON value included."""
    for event in history.events:
        kept = encode(UUID(int=1), event)
        assert decode(Encoded(1, kept.type, kept.schema_version, kept.data)) == event


LAWS: Final[tuple[Law, ...]] = (
    every_event_is_legal,
    the_fold_is_the_state,
    a_prefix_and_the_rest_are_the_whole,
    an_end_is_an_end,
    repeating_adds_nothing,
    a_refusal_tells_the_status,
    the_log_keeps_every_event_as_it_is,
)
"""For every kind of stream."""

JOB_LAWS: Final[tuple[JobLaw, ...]] = (
    limits_hold,
    counts_are_those_of_the_events,
    a_stale_attempt_writes_nothing,
    nothing_starts_before_its_time,
    a_lost_attempt_times_out_when_its_time_is_long_over,
    nothing_starts_before_what_it_waits_for,
    a_cancelled_job_never_starts_again,
    a_grace_only_gets_shorter,
    who_holds_a_job_is_known,
    a_command_completes_only_once_it_runs,
    what_completed_is_recorded_as_it_was,
)
