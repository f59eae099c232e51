"""The rules of a job: which events a command adds. The whole public face of jobs.

What is legal in which status is said by TRANSITIONS alone; the functions here ask it and add
what a table cannot say: attempts, times, limits.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, assert_never
from uuid import UUID

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import NotFound, NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.events import (
    JobCancelled,
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
    JobStarted,
    JobSubmitted,
    JobTimedOut,
)
from reactorcide.eventstore.domain.job_commands import (
    CANCELLED_ON_REQUEST,
    CancelDependent,
    CancelJob,
    Cancelled,
    ClaimJob,
    Completed,
    DeleteJob,
    ExpireLease,
    Failed,
    FinishAttempt,
    JobCommand,
    Outcome,
    QueueJob,
    Released,
    StartJob,
    SubmitJob,
    TimedOut,
)
from reactorcide.eventstore.domain.job_state import (
    FINAL,
    HELD,
    LEASE_LOST,
    TRANSITIONS,
    JobState,
    Status,
    evolve,
)

__all__ = [
    "CANCELLED_ON_REQUEST",
    "FINAL",
    "HELD",
    "JOB",
    "LEASE_LOST",
    "LONGEST_BACKOFF_SECONDS",
    "LOST_LEASES_LIMIT",
    "OVERDUE_SECONDS",
    "TRANSITIONS",
    "CancelDependent",
    "CancelJob",
    "Cancelled",
    "ClaimJob",
    "Completed",
    "DeleteJob",
    "ExpireLease",
    "Failed",
    "FinishAttempt",
    "JobCommand",
    "JobState",
    "Outcome",
    "QueueJob",
    "Released",
    "StartJob",
    "Status",
    "SubmitJob",
    "TimedOut",
    "alike",
    "backoff_seconds",
    "decide",
    "evolve",
    "likewise",
    "retry_request",
]

LOST_LEASES_LIMIT: Final = 3
"""A job that took so many workers down fails, whatever else it says."""

OVERDUE_SECONDS: Final = 10
"""A worker that lives has stopped a command so long after its time: the grace it gives."""

LONGEST_BACKOFF_SECONDS: Final = 365 * 86_400
"""Doubling stops here, so that the time of a retry stays a date."""


def decide(  # noqa: PLR0911  one case per command
    state: JobState, command: JobCommand
) -> tuple[JobEvent, ...]:
    """Return the events that `command` adds; () when it is already so.

    Raises NotFound for a job that is not there, NotLegal with its status, NotLeaseHolder.
    """
    match command:
        case SubmitJob():
            return _submit(state, command)
        case ClaimJob():
            return _claim(state, command)
        case StartJob(attempt=attempt):
            _hold(state, attempt)
            return () if state.status is Status.RUNNING else (_started(attempt),)
        case FinishAttempt():
            _hold(state, command.attempt, command.worker_id)
            return (_finish(state, command),)
        case ExpireLease():
            return _expire(state, command)
        case QueueJob():
            return _queue(state, command)
        case CancelJob():
            return _cancel(state, command)
        case CancelDependent():
            return _cancel_dependent(state, command)
        case DeleteJob():
            _allow(state, JobDeleted, "be deleted")
            return (JobDeleted(),)
        case _:
            assert_never(command)


def retry_request(state: JobState, job_id: UUID) -> JobSubmitted:
    """Return the request of the ended job `job_id` once more, as a new job's. NotLegal before."""
    submitted = _known(state)
    if state.status not in FINAL:
        raise NotLegal(
            detail=f"a job that is {state.status} cannot be retried yet",
            current_status=state.status,
        )
    if submitted.is_redacted:
        raise NotLegal(
            detail="what the job was asked to do was redacted", current_status=state.status
        )
    return submitted.model_copy(update={"retry_of": job_id})


def _submit(state: JobState, command: SubmitJob) -> tuple[JobEvent, ...]:
    submitted = command.submitted
    if state.submitted == submitted:
        return ()
    if JobSubmitted not in TRANSITIONS[state.status]:
        raise NotLegal(detail="the id belongs to another job", current_status=state.status)
    if command.waits or _is_early(submitted.run_at, command.now):
        return (submitted,)
    return (submitted, _QUEUED)


def _queue(state: JobState, command: QueueJob) -> tuple[JobEvent, ...]:
    if state.status is Status.QUEUED:
        return ()
    submitted = _allow(state, JobQueued, "be queued")
    if _is_early(state.available_at, command.now):
        raise NotLegal(detail=f"waits until {state.available_at}", current_status=state.status)
    if not command.completed.issuperset(submitted.depends_on):
        raise NotLegal(detail="waits for other jobs", current_status=state.status)
    return (_QUEUED,)


def _claim(state: JobState, command: ClaimJob) -> tuple[JobEvent, ...]:
    _allow(state, JobClaimed, "be claimed")
    if _is_early(state.available_at, command.now):
        raise NotLegal(detail=f"waits until {state.available_at}", current_status=state.status)
    return (_claimed(state.attempt + 1, command.worker_id, command.lease_seconds),)


def _finish(state: JobState, command: FinishAttempt) -> JobEvent:
    attempt, outcome = command.attempt, command.outcome
    if state.cancel_grace_seconds is not None and not isinstance(outcome, Completed):
        exit_code = None if isinstance(outcome, Released) else outcome.exit_code
        return JobCancelled(attempt=attempt, exit_code=exit_code, reason=CANCELLED_ON_REQUEST)
    match outcome:
        case Completed():
            submitted = _allow(state, JobCompleted, "complete")
            if state.status is Status.CLAIMED and submitted.handler is None:
                raise NotLegal(
                    detail="a command completes only once it runs", current_status=state.status
                )
            if outcome.result is None:
                return _completed(attempt, outcome.exit_code)
            return JobCompleted(attempt=attempt, exit_code=outcome.exit_code, result=outcome.result)
        case Failed() | TimedOut():
            return _fail(state, command, outcome)
        case Released(reason=reason):
            return JobReleased(attempt=attempt, reason=reason)
        case Cancelled():
            raise NotLegal(detail="nobody asked to cancel the job", current_status=state.status)
        case _:
            assert_never(outcome)


def _fail(state: JobState, command: FinishAttempt, outcome: Failed | TimedOut) -> JobEvent:
    submitted = _known(state)
    attempt, exit_code, error = command.attempt, outcome.exit_code, outcome.error
    timed_out = isinstance(outcome, TimedOut)
    if state.failures + 1 < submitted.max_attempts:
        wait = backoff_seconds(submitted.retry_backoff_seconds, state.failures, command.jitter)
        return JobRetryScheduled(
            attempt=attempt,
            outcome="timed_out" if timed_out else "failed",
            exit_code=exit_code,
            error=error,
            retry_at=command.now + timedelta(seconds=wait),
        )
    if timed_out:
        return JobTimedOut(attempt=attempt, exit_code=exit_code, error=error)
    return JobFailed(attempt=attempt, exit_code=exit_code, error=error)


def backoff_seconds(first: float, failures: int, jitter: float) -> float:
    """Return how long to wait after `failures` earlier ones: doubling, ±10 % by `jitter`."""
    return min(first * 2.0**failures, LONGEST_BACKOFF_SECONDS) * (1 + 0.1 * jitter)


def _expire(state: JobState, command: ExpireLease) -> tuple[JobEvent, ...]:
    attempt = command.attempt
    submitted, worker_id = state.submitted, state.worker_id
    if not _holds(state, attempt) or submitted is None or worker_id is None:
        return ()
    lost = JobLeaseExpired(attempt=attempt, worker_id=worker_id)
    if state.cancel_grace_seconds is not None:
        return (lost, JobCancelled(attempt=attempt, reason=CANCELLED_ON_REQUEST))
    if state.lost_leases + 1 >= LOST_LEASES_LIMIT:
        return (lost, JobFailed(attempt=attempt, error=f"{LEASE_LOST}, {LOST_LEASES_LIMIT} times"))
    if _is_overdue(submitted, command):
        error = f"ran longer than {submitted.timeout_seconds} s, and its worker is not heard of"
        outcome = TimedOut(None, error)
        return (
            _fail(state, FinishAttempt(attempt, outcome, command.now, command.jitter), outcome),
        )
    if submitted.on_lost_lease == "fail":
        return (lost, JobFailed(attempt=attempt, error=LEASE_LOST))
    return (lost,)


def _is_overdue(submitted: JobSubmitted, command: ExpireLease) -> bool:
    """Whether a worker that lives would have stopped the command long ago."""
    if command.started_at is None:
        return False
    limit = timedelta(seconds=submitted.timeout_seconds + OVERDUE_SECONDS)
    return command.now - command.started_at > limit


def _cancel(state: JobState, command: CancelJob) -> tuple[JobEvent, ...]:
    if JobCancelRequested not in TRANSITIONS[state.status]:
        _allow(state, JobCancelled, "be cancelled")
        attempt = state.attempt if state.status in HELD else None
        return (JobCancelled(attempt=attempt, reason=command.reason),)
    asked = state.cancel_grace_seconds
    if asked is not None and asked <= command.grace_seconds:
        return ()
    return (JobCancelRequested(grace_seconds=command.grace_seconds),)


def _cancel_dependent(state: JobState, command: CancelDependent) -> tuple[JobEvent, ...]:
    if state.status is Status.CANCELLED:
        return ()
    submitted = _allow(state, JobQueued, "be held back any more")
    if command.dependency not in submitted.depends_on:
        raise NotLegal(
            detail=f"does not wait for job {command.dependency}", current_status=state.status
        )
    reason = f"dependency {command.dependency} ended as {command.dependency_status}"
    return (JobCancelled(reason=reason),)


def _known(state: JobState) -> JobSubmitted:
    """Return the request of a job that is there."""
    if state.submitted is None or state.status is Status.DELETED:
        raise NotFound(kind="job")
    return state.submitted


def _allow(state: JobState, event: type[JobEvent], wish: str) -> JobSubmitted:
    """Return the request of a job that `event` may follow, else raise why it may not."""
    submitted = _known(state)
    if event not in TRANSITIONS[state.status]:
        raise NotLegal(
            detail=f"a job that is {state.status} cannot {wish}", current_status=state.status
        )
    return submitted


def _holds(state: JobState, attempt: int) -> bool:
    return attempt == state.attempt and state.status in HELD


def _hold(state: JobState, attempt: int, worker_id: UUID | None = None) -> None:
    if not _holds(state, attempt) or worker_id not in {None, state.worker_id}:
        raise NotLeaseHolder(attempt, state.attempt, state.status)


def _is_early(available_at: datetime | None, now: datetime) -> bool:
    return available_at is not None and available_at > now


# Thousands of jobs stand alike, but for what was asked for, and a worker tells them all the same.


def alike(state: JobState) -> tuple[object, ...]:
    """Return all that ClaimJob, StartJob and a plain completion look at.

    Jobs for which this is equal are decided alike, and stand alike afterwards.
    """
    return state.submitted is None or state.submitted.handler is None, state[0], state[2:]


def likewise(state: JobState, model: JobState) -> JobState:
    """Return the job as the alike job that became `model` would stand, with its own request."""
    return tuple.__new__(JobState, (model[0], state[1], *model[2:]))


# What they have in common is made, and later encoded, once.

_QUEUED: Final = JobQueued()


@lru_cache
def _claimed(attempt: int, worker_id: UUID, lease_seconds: float) -> JobClaimed:
    return JobClaimed(attempt=attempt, worker_id=worker_id, lease_seconds=lease_seconds)


@lru_cache
def _started(attempt: int) -> JobStarted:
    return JobStarted(attempt=attempt)


@lru_cache
def _completed(attempt: int, exit_code: int | None) -> JobCompleted:
    return JobCompleted(attempt=attempt, exit_code=exit_code)


JOB: Final = Decider("job", JobState(), decide, evolve)
