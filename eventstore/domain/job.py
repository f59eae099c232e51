"""The rules of a job: which events a command adds. The whole public face of jobs.

What is legal in which status is said by TRANSITIONS alone; the functions here ask it and add
what a table cannot say: attempts, times, limits.
"""

from functools import lru_cache
from typing import Final, assert_never
from uuid import UUID

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import NotLegal
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
from reactorcide.eventstore.domain.job_endings import (
    LONGEST_BACKOFF_SECONDS,
    LOST_LEASES_LIMIT,
    OVERDUE_SECONDS,
    backoff_seconds,
    expire,
    finish,
)
from reactorcide.eventstore.domain.job_events import (
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobDeleted,
    JobEvent,
    JobQueued,
    JobStarted,
    JobSubmitted,
)
from reactorcide.eventstore.domain.job_legality import allow, hold, is_early, known
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
            hold(state, attempt)
            return () if state.status is Status.RUNNING else (_started(attempt),)
        case FinishAttempt():
            hold(state, command.attempt, command.worker_id)
            return (finish(state, command),)
        case ExpireLease():
            return expire(state, command)
        case QueueJob():
            return _queue(state, command)
        case CancelJob():
            return _cancel(state, command)
        case CancelDependent():
            return _cancel_dependent(state, command)
        case DeleteJob():
            allow(state, JobDeleted, "be deleted")
            return (JobDeleted(),)
        case _:
            assert_never(command)


def retry_request(state: JobState, job_id: UUID) -> JobSubmitted:
    """Return the request of the ended job `job_id` once more, as a new job's. NotLegal before."""
    submitted = known(state)
    if state.status not in FINAL:
        raise NotLegal(
            detail=f"a job that is {state.status} cannot be retried yet",
            current_status=state.status,
        )
    if submitted.is_redacted:
        raise NotLegal(
            detail="what the job was asked to do was redacted", current_status=state.status
        )
    return submitted.model_copy(update={"retry_of": job_id, "waits": False})


def _submit(state: JobState, command: SubmitJob) -> tuple[JobEvent, ...]:
    submitted = command.submitted
    waits = command.waits or is_early(submitted.run_at, command.now)
    if state.submitted is not None and state.submitted.waiting(waits=waits) == submitted.waiting(
        waits=waits
    ):
        return ()
    if JobSubmitted not in TRANSITIONS[state.status]:
        raise NotLegal(detail="the id belongs to another job", current_status=state.status)
    return (submitted.waiting(waits=waits),)


def _queue(state: JobState, command: QueueJob) -> tuple[JobEvent, ...]:
    if state.status is Status.QUEUED:
        return ()
    submitted = allow(state, JobQueued, "be queued")
    if is_early(state.available_at, command.now):
        raise NotLegal(detail=f"waits until {state.available_at}", current_status=state.status)
    if not command.completed.issuperset(submitted.depends_on):
        raise NotLegal(detail="waits for other jobs", current_status=state.status)
    return (_QUEUED,)


def _claim(state: JobState, command: ClaimJob) -> tuple[JobEvent, ...]:
    allow(state, JobClaimed, "be claimed")
    if is_early(state.available_at, command.now):
        raise NotLegal(detail=f"waits until {state.available_at}", current_status=state.status)
    attempt = state.attempt + 1
    claimed = _claimed(attempt, command.worker_id, command.lease_seconds)
    return (claimed, _started(attempt)) if command.starts else (claimed,)


def _cancel(state: JobState, command: CancelJob) -> tuple[JobEvent, ...]:
    if JobCancelRequested not in TRANSITIONS[state.status]:
        allow(state, JobCancelled, "be cancelled")
        attempt = state.attempt if state.status in HELD else None
        return (JobCancelled(attempt=attempt, reason=command.reason),)
    asked = state.cancel_grace_seconds
    if asked is not None and asked <= command.grace_seconds:
        return ()
    return (JobCancelRequested(grace_seconds=command.grace_seconds),)


def _cancel_dependent(state: JobState, command: CancelDependent) -> tuple[JobEvent, ...]:
    if state.status is Status.CANCELLED:
        return ()
    submitted = allow(state, JobQueued, "be held back any more")
    if command.dependency not in submitted.depends_on:
        raise NotLegal(
            detail=f"does not wait for job {command.dependency}", current_status=state.status
        )
    reason = f"dependency {command.dependency} ended as {command.dependency_status}"
    return (JobCancelled(reason=reason),)


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


JOB: Final = Decider("job", JobState(), decide, evolve)
