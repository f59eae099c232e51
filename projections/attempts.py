"""The attempts of one job, folded from its events: there is no table of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from reactorcide.eventstore.codec import decode
from reactorcide.eventstore.domain.events import (
    JobCancelled,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobLeaseExpired,
    JobReleased,
    JobRetryScheduled,
    JobStarted,
    JobTimedOut,
)
from reactorcide.eventstore.record import RecordedEvent

Ending: TypeAlias = Literal["completed", "failed", "timed_out", "cancelled", "released", "lost"]


@dataclass(slots=True)
class Attempt:
    """One claim of a job, and what came of it."""

    attempt: int
    worker_id: UUID
    claimed_at: datetime
    started_at: datetime | None = None
    """None: its command or handler was not seen to run."""
    ended_at: datetime | None = None
    """When its end was recorded; None while it is held."""
    outcome: Ending | None = None
    exit_code: int | None = None
    error: str | None = None
    retry_at: datetime | None = None
    """When the next one may begin, where it failed and another follows."""


def attempts_of(stream: Iterable[RecordedEvent]) -> list[Attempt]:
    """Return the attempts that a job's events, from the first on, tell of; the first one first."""
    attempts: list[Attempt] = []
    for recorded in stream:
        event, at = decode(recorded), recorded.recorded_at
        if isinstance(event, JobClaimed):
            attempts.append(Attempt(event.attempt, event.worker_id, at))
        elif attempts and attempts[-1].ended_at is None:
            _take(attempts[-1], event, at)
    return attempts


def _take(attempt: Attempt, event: object, at: datetime) -> None:
    """Learn what happened to an attempt that is held; what is not about it changes nothing."""
    match event:
        case JobStarted():
            attempt.started_at = at
            return
        case JobCompleted():
            attempt.outcome = "completed"
        case JobFailed():
            attempt.outcome = "failed"
        case JobTimedOut():
            attempt.outcome = "timed_out"
        case JobRetryScheduled():
            attempt.outcome, attempt.retry_at = event.outcome, event.retry_at
        case JobCancelled():
            attempt.outcome, attempt.error = "cancelled", event.reason
        case JobReleased():
            attempt.outcome, attempt.error = "released", event.reason
        case JobLeaseExpired():
            attempt.outcome, attempt.error = "lost", "its worker was not heard of in time"
        case _:
            return
    attempt.ended_at = at
    attempt.exit_code = getattr(event, "exit_code", None)
    attempt.error = attempt.error or getattr(event, "error", None)
