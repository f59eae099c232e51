"""What may be asked of a job, and how an attempt may end. Says nothing about when.

Every `now` is the database's clock, aware and in UTC: rules never look at one themselves.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from pydantic import JsonValue

from reactorcide.eventstore.domain.job_events import JobSubmitted

CANCELLED_ON_REQUEST = "cancelled on request"


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Make the job, and queue it at once unless something holds it back."""

    submitted: JobSubmitted
    now: datetime
    waits: bool
    """Some of what it depends on has not completed. A later `run_at` holds it back as well."""


@dataclass(frozen=True, slots=True)
class QueueJob:
    """Let a job that waited be claimed."""

    now: datetime
    completed: frozenset[UUID]
    """Those of the jobs it depends on that have completed (others in it do no harm)."""


@dataclass(frozen=True, slots=True)
class ClaimJob:
    """Open the next attempt, and its lease, for a worker."""

    worker_id: UUID
    lease_seconds: float
    now: datetime
    starts: bool = False
    """Nothing is left to prepare: what the attempt runs is about to run."""


@dataclass(frozen=True, slots=True)
class StartJob:
    """The attempt's command or handler is about to run. Repeating it adds nothing."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The command ended with exit code 0, or the handler returned `result` (exit code None)."""

    result: JsonValue = None
    exit_code: int | None = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The command ended otherwise, or could not be run; a handler raised (exit code None)."""

    exit_code: int | None
    error: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The command or handler ran longer than it may and was stopped."""

    exit_code: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The command or handler was stopped because somebody asked for it."""

    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gives the job back; nothing of the attempt is left."""

    reason: str


Outcome: TypeAlias = Completed | Failed | TimedOut | Cancelled | Released


@dataclass(frozen=True, slots=True)
class FinishAttempt:
    """The attempt ended so."""

    attempt: int
    outcome: Outcome
    now: datetime
    jitter: float
    """-1 … 1: where within ±10 % the wait before a retry lies."""
    worker_id: UUID | None = None
    """Who ran the attempt, where somebody else says how it ended; None: whoever says it."""


@dataclass(frozen=True, slots=True)
class ExpireLease:
    """The attempt's lease ran out. The caller has seen that in the table of leases."""

    attempt: int
    now: datetime
    started_at: datetime | None = None
    """When its command was started, by the same clock; None: it was not."""
    jitter: float = 0.0
    """As in FinishAttempt, for an attempt whose time is long over."""


@dataclass(frozen=True, slots=True)
class CancelJob:
    """End the job: at once when it does not run, else through its worker.

    `grace_seconds` between TERM and KILL; 0 kills. A shorter grace replaces a longer one.
    """

    grace_seconds: int = 10
    reason: str = CANCELLED_ON_REQUEST
    """Recorded when the job ends at once."""


@dataclass(frozen=True, slots=True)
class CancelDependent:
    """A job that this one waits for ended otherwise than completed."""

    dependency: UUID
    dependency_status: str


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Take an ended job off every list."""


JobCommand: TypeAlias = (
    SubmitJob
    | QueueJob
    | ClaimJob
    | StartJob
    | FinishAttempt
    | ExpireLease
    | CancelJob
    | CancelDependent
    | DeleteJob
)
