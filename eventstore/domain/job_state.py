"""What a job is: its statuses, what leads from one to the next, and the fold of its events.

Who may record an event, and when, is decided in `job`; legality is only said here.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, assert_never
from uuid import UUID

from pydantic_core import to_json

from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.job_events import (
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


class Status(StrEnum):
    """Where a job stands."""

    NONE = "none"
    """Before its first event."""
    SUBMITTED = "submitted"
    """Waits for `run_at` or for the jobs it depends on."""
    QUEUED = "queued"
    """May be claimed, once `available_at` has passed."""
    CLAIMED = "claimed"
    """A worker holds it and has not started its command."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    DELETED = "deleted"
    """Ended, and taken off every list."""

    __hash__ = str.__hash__  # Enum's own is a Python call; evolve looks a status up every time


TRANSITIONS: Final[Mapping[Status, Mapping[type[JobEvent], Status]]] = MappingProxyType(
    {
        Status.NONE: {JobSubmitted: Status.SUBMITTED},
        Status.SUBMITTED: {JobQueued: Status.QUEUED, JobCancelled: Status.CANCELLED},
        Status.QUEUED: {
            JobClaimed: Status.CLAIMED,
            JobCancelled: Status.CANCELLED,
            # These two right after a lost lease, by policy.
            JobFailed: Status.FAILED,
            JobTimedOut: Status.TIMEOUT,
        },
        Status.CLAIMED: {
            JobStarted: Status.RUNNING,
            # A start that the end overtakes is not recorded.
            JobCompleted: Status.COMPLETED,
            JobReleased: Status.QUEUED,
            JobLeaseExpired: Status.QUEUED,
            JobRetryScheduled: Status.QUEUED,
            JobCancelled: Status.CANCELLED,
            JobFailed: Status.FAILED,
            JobTimedOut: Status.TIMEOUT,
        },
        Status.RUNNING: {
            JobCancelRequested: Status.RUNNING,
            JobReleased: Status.QUEUED,
            JobLeaseExpired: Status.QUEUED,
            JobRetryScheduled: Status.QUEUED,
            JobCancelled: Status.CANCELLED,
            JobCompleted: Status.COMPLETED,
            JobFailed: Status.FAILED,
            JobTimedOut: Status.TIMEOUT,
        },
        Status.COMPLETED: {JobDeleted: Status.DELETED},
        Status.FAILED: {JobDeleted: Status.DELETED},
        Status.CANCELLED: {JobDeleted: Status.DELETED},
        Status.TIMEOUT: {JobDeleted: Status.DELETED},
        Status.DELETED: {},
    }
)

LEASE_LOST: Final = "lease lost: its worker was not heard of in time"

FINAL: Final = frozenset(s for s, row in TRANSITIONS.items() if row.keys() == {JobDeleted})
"""Ended: nothing follows but deletion."""

HELD: Final = frozenset(s for s, row in TRANSITIONS.items() if JobLeaseExpired in row)
"""A worker holds the lease of the present attempt."""


class JobState(NamedTuple):
    """What the rules need to know of a job. Holds no times but the one it waits for.

    A named tuple, because it is made anew for every event of a rebuild: measured, `_replace`
    takes a quarter of what `dataclasses.replace` takes on a frozen class.
    """

    status: Status = Status.NONE
    submitted: JobSubmitted | None = None
    """The request; None only before the first event."""
    attempt: int = 0
    """How often it was claimed, and the number of the latest attempt."""
    failures: int = 0
    """Attempts that failed or timed out; lost leases and releases do not count."""
    lost_leases: int = 0
    worker_id: UUID | None = None
    """Who holds the lease, or ran the attempt that ended the job."""
    available_at: datetime | None = None
    """Not before: `run_at` while it waits, the time of the retry later; None when it has come."""
    cancel_grace_seconds: int | None = None
    """None: nobody asked a running attempt to stop; 0: it is to be killed."""
    exit_code: int | None = None
    """Of the attempt that ended last; None when its command never ran or was lost."""
    last_error: str | None = None
    """Why the attempt that ended last, or the job, did not complete."""
    result: str | None = None
    """What the handler returned, as JSON; None for nothing."""


_made: Final = tuple.__new__  # the class itself takes twice as long, `_replace` four times


def evolve(  # noqa: C901, PLR0911, PLR0912  one case per kind of event
    state: JobState, event: JobEvent
) -> JobState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="job", status=state.status, event_type=event.wire_type
        ) from None
    # The most frequent first: to ask whether an event is of another class is slow.
    match event:
        case JobClaimed():
            held = event.attempt, state.failures, state.lost_leases, event.worker_id, None
            return _made(JobState, (status, state.submitted, *held, *state[7:]))
        case JobCompleted():
            result = None if event.result is None else to_json(event.result).decode()
            return _made(JobState, (status, *state[1:8], event.exit_code, None, result))
        case JobStarted():
            return _made(JobState, (status, *state[1:]))
        case JobSubmitted(waits=True):
            return JobState(status, event, available_at=event.run_at)
        case JobSubmitted():  # two steps in one
            return JobState(TRANSITIONS[status][JobQueued], event)
        case JobQueued():
            return _made(JobState, (status, *state[1:6], None, *state[7:]))
        case JobFailed() | JobTimedOut():
            # After a lost lease the job ends, but its command did not fail.
            failures = state.failures + (state.status in HELD)
            ended = event.exit_code, event.error, state.result
            return _made(JobState, (status, *state[1:3], failures, *state[4:8], *ended))
        case JobRetryScheduled():
            return state._replace(
                status=status,
                failures=state.failures + 1,
                worker_id=None,
                available_at=event.retry_at,
                exit_code=event.exit_code,
                last_error=event.error,
            )
        case JobDeleted():
            return state._replace(status=status)
        case JobReleased():
            return state._replace(status=status, worker_id=None)
        case JobLeaseExpired():
            return state._replace(
                status=status,
                lost_leases=state.lost_leases + 1,
                worker_id=None,
                exit_code=None,
                last_error=LEASE_LOST,
            )
        case JobCancelRequested():
            return state._replace(status=status, cancel_grace_seconds=event.grace_seconds)
        case JobCancelled():
            return state._replace(status=status, exit_code=event.exit_code, last_error=event.reason)
        case _:
            assert_never(event)
