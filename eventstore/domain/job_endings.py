"""The ends of a job's attempts: which events follow an outcome, or a lost lease.

Another attempt while there are some left, else the job's own end.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Final, assert_never

from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.domain.job_commands import (
    CANCELLED_ON_REQUEST,
    Cancelled,
    Completed,
    ExpireLease,
    Failed,
    FinishAttempt,
    Released,
    TimedOut,
)
from reactorcide.eventstore.domain.job_events import (
    JobCancelled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobLeaseExpired,
    JobReleased,
    JobRetryScheduled,
    JobSubmitted,
    JobTimedOut,
)
from reactorcide.eventstore.domain.job_legality import allow, holds, known
from reactorcide.eventstore.domain.job_state import LEASE_LOST, JobState, Status

LOST_LEASES_LIMIT: Final = 3
"""A job that took so many workers down fails, whatever else it says."""

OVERDUE_SECONDS: Final = 10
"""A worker that lives has stopped a command so long after its time: the grace it gives."""

LONGEST_BACKOFF_SECONDS: Final = 365 * 86_400
"""Doubling stops here, so that the time of a retry stays a date."""


def finish(state: JobState, command: FinishAttempt) -> JobEvent:
    """Return what becomes of a job whose attempt, which has it, ended so. Raises NotLegal."""
    attempt, outcome = command.attempt, command.outcome
    if state.cancel_grace_seconds is not None and not isinstance(outcome, Completed):
        exit_code = None if isinstance(outcome, Released) else outcome.exit_code
        return JobCancelled(attempt=attempt, exit_code=exit_code, reason=CANCELLED_ON_REQUEST)
    match outcome:
        case Completed():
            submitted = allow(state, JobCompleted, "complete")
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
    submitted = known(state)
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


def expire(state: JobState, command: ExpireLease) -> tuple[JobEvent, ...]:
    """Return what becomes of a job whose worker is not heard of; () when it has another by now."""
    attempt = command.attempt
    submitted, worker_id = state.submitted, state.worker_id
    if not holds(state, attempt) or submitted is None or worker_id is None:
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


# Thousands of jobs complete alike: the event is made, and later encoded, once.


@lru_cache
def _completed(attempt: int, exit_code: int | None) -> JobCompleted:
    return JobCompleted(attempt=attempt, exit_code=exit_code)
