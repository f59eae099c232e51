"""The facts about jobs. Who may record one, and when, says TRANSITIONS in `job_state`."""

from datetime import datetime
from typing import ClassVar, Literal, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.event import NOTHING, REDACTED, Event, Json

SourceType: TypeAlias = Literal["none", "git", "copy"]
OnLostLease: TypeAlias = Literal["requeue", "fail"]


class JobSubmitted(Event):
    """A job was asked for. Holds the whole request; times and counts follow in later facts.

    Either `job_command` or `handler` is given; `args` are the handler's. `job_env_vars` holds
    plain values only; those named in `secret_env_vars` are in `sealed_env_vars`, name to sealed
    value. One that `waits` is followed by `job.queued` when nothing holds it back any more; any
    other is queued at once. In version 1 of this event every job waited.
    """

    wire_type: ClassVar[str] = "job.submitted"
    schema_version: ClassVar[int] = 2

    user_id: UUID
    name: str
    job_command: str | None = None
    handler: str | None = None
    args: Json = None
    description: str | None = None
    source_type: SourceType = "none"
    git_url: str | None = None
    git_ref: str | None = None
    source_path: str | None = None
    code_dir: str = "/job/src"
    job_dir: str = "/job/src"
    runner_image: str | None = None
    job_env_vars: dict[str, str] = NOTHING
    sealed_env_vars: dict[str, str] = NOTHING
    job_env_file: str | None = None
    timeout_seconds: int = 3600
    priority: int = 0
    queue_name: str = "default"
    max_attempts: int = 1
    on_lost_lease: OnLostLease = "requeue"
    retry_backoff_seconds: float = 5
    run_at: datetime | None = None
    unique_key: str | None = None
    labels: dict[str, str] = NOTHING
    depends_on: tuple[UUID, ...] = ()
    retry_of: UUID | None = None
    waits: bool = False

    def waiting(self, *, waits: bool) -> "JobSubmitted":
        """Return the same request, of a job that waits for something, or does not."""
        return self if waits is self.waits else JobSubmitted.of({**self.__dict__, "waits": waits})

    @property
    def is_redacted(self) -> bool:
        """Whether nobody knows any more what was asked for."""
        return self.name == (self.job_command or self.handler) == REDACTED


class JobQueued(Event):
    """Nothing holds a waiting job back any more: its time has come, its dependencies completed."""

    wire_type: ClassVar[str] = "job.queued"


class JobClaimed(Event):
    """A worker took the job. Opens attempt number `attempt` and its lease."""

    wire_type: ClassVar[str] = "job.claimed"

    attempt: int
    worker_id: UUID
    lease_seconds: float


class JobStarted(Event):
    """The attempt's command or handler runs."""

    wire_type: ClassVar[str] = "job.started"

    attempt: int


class JobReleased(Event):
    """The worker gave the job back unharmed; the attempt does not count as a failure."""

    wire_type: ClassVar[str] = "job.released"

    attempt: int
    reason: str


class JobLeaseExpired(Event):
    """The attempt's worker was not heard of in time; what it still writes is refused."""

    wire_type: ClassVar[str] = "job.lease_expired"

    attempt: int
    worker_id: UUID


class JobRetryScheduled(Event):
    """The attempt failed or ran out of time, and another one follows at `retry_at`."""

    wire_type: ClassVar[str] = "job.retry_scheduled"

    attempt: int
    outcome: Literal["failed", "timed_out"]
    exit_code: int | None = None
    error: str | None = None
    retry_at: datetime


class JobCancelRequested(Event):
    """Somebody asked for a running job to stop: TERM, `grace_seconds`, then KILL."""

    wire_type: ClassVar[str] = "job.cancel_requested"

    grace_seconds: int


class JobCancelled(Event):
    """The job ended because it was cancelled. `attempt` is None when none was running."""

    wire_type: ClassVar[str] = "job.cancelled"

    attempt: int | None = None
    exit_code: int | None = None
    reason: str


class JobCompleted(Event):
    """The command ended with exit code 0, or the handler returned `result` (exit code None)."""

    wire_type: ClassVar[str] = "job.completed"

    attempt: int
    exit_code: int | None = 0
    result: Json = None


class JobFailed(Event):
    """The last attempt failed. `exit_code` is None when the command never ran or was lost."""

    wire_type: ClassVar[str] = "job.failed"

    attempt: int
    exit_code: int | None = None
    error: str


class JobTimedOut(Event):
    """The last attempt ran longer than `timeout_seconds`."""

    wire_type: ClassVar[str] = "job.timed_out"

    attempt: int
    exit_code: int | None = None
    error: str


class JobDeleted(Event):
    """An ended job was taken off every list; its events stay."""

    wire_type: ClassVar[str] = "job.deleted"


JobEvent: TypeAlias = (
    JobSubmitted
    | JobQueued
    | JobClaimed
    | JobStarted
    | JobReleased
    | JobLeaseExpired
    | JobRetryScheduled
    | JobCancelRequested
    | JobCancelled
    | JobCompleted
    | JobFailed
    | JobTimedOut
    | JobDeleted
)
