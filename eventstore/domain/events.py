"""Every fact the log can hold: one frozen model per event, with its wire name.

This module only says what events *are*. Who may record one, and when, is said by the
TRANSITIONS table beside each stream's rules. A field's default may never change: an
event that was written without the field keeps its meaning (a new meaning is a new
`schema_version` and an upcaster in the codec).

Nothing here is secret: a token is its SHA-256, a secret value is sealed. What of an event is left
when it is redacted says `redaction`.
"""

from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, JsonValue
from pydantic_core import core_schema

SourceType: TypeAlias = Literal["none", "git", "copy"]
OnLostLease: TypeAlias = Literal["requeue", "fail"]
DeniedReason: TypeAlias = Literal["no_token", "bad_header", "bad_token", "forbidden"]
RefusedReason: TypeAlias = Literal["conflict", "precondition_failed", "precondition_required"]

Json: TypeAlias = Annotated[
    JsonValue, GetPydanticSchema(lambda _type, _handler: core_schema.any_schema())
]
"""A JSON value, which pydantic takes as it is: it has been parsed from JSON.

Looking at it once more calls a Python function for each value inside, 1 µs each.
"""


class _Nothing(dict[str, str]):
    """An empty dict for all who have none: what can be hashed is not copied for each event."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # dict has none, for what changes


NOTHING: Final = _Nothing()

REDACTED: Final = "[redacted]"
"""Stands for a text that was erased."""


class Event(BaseModel):
    """The base of all facts. `wire_type` is its name in the log, the API and the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wire_type: ClassVar[str]
    schema_version: ClassVar[int] = 1

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return the event of these fields, all of them, as they are: they have been validated.

        A tenth of what `model_construct` takes, which asks after each field.
        """
        event = cls.__new__(cls)
        put = object.__setattr__  # the event is frozen
        put(event, "__dict__", fields)
        put(event, "__pydantic_fields_set__", _names(cls))
        put(event, "__pydantic_extra__", None)
        put(event, "__pydantic_private__", None)
        return event


@cache
def _names(event_type: type[Event]) -> set[str]:
    return set(event_type.model_fields)


# Jobs


class JobSubmitted(Event):
    """A job was asked for. Holds the whole request; times and counts follow in later facts.

    Either `job_command` or `handler` is given; `args` are the handler's. `job_env_vars` holds
    plain values only; those named in `secret_env_vars` are in `sealed_env_vars`, name to sealed
    value.
    """

    wire_type: ClassVar[str] = "job.submitted"

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

    def with_args(self, args: JsonValue) -> "JobSubmitted":
        """Return the same request with other args."""
        return JobSubmitted.of({**self.__dict__, "args": args})

    @property
    def is_redacted(self) -> bool:
        """Whether nobody knows any more what was asked for."""
        return self.name == (self.job_command or self.handler) == REDACTED


class JobQueued(Event):
    """Nothing holds the job back any more: its time has come, what it waited for completed."""

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


# Tokens


class TokenIssued(Event):
    """A token was made. `token_hash` is the hex SHA-256 of the text, `prefix` its first letters.

    `scopes` None: all that the owner's roles allow. `expires_at` None: never.
    """

    wire_type: ClassVar[str] = "token.issued"

    user_id: UUID
    name: str
    token_hash: str
    prefix: str
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    rotated_from: UUID | None = None


class TokenRevoked(Event):
    """The token no longer opens anything."""

    wire_type: ClassVar[str] = "token.revoked"


class TokenRotated(Event):
    """Token `successor_id` replaces this one, which holds until `valid_until`."""

    wire_type: ClassVar[str] = "token.rotated"

    successor_id: UUID
    valid_until: datetime


TokenEvent: TypeAlias = TokenIssued | TokenRevoked | TokenRotated


# Users


class UserRegistered(Event):
    """A user exists from now on."""

    wire_type: ClassVar[str] = "user.registered"

    username: str
    email: str | None = None
    roles: tuple[str, ...]


class UserRolesChanged(Event):
    """The user's roles are these, all of them, from now on."""

    wire_type: ClassVar[str] = "user.roles_changed"

    roles: tuple[str, ...]


class UserDeactivated(Event):
    """The user may do nothing any more; none of its tokens holds."""

    wire_type: ClassVar[str] = "user.deactivated"


UserEvent: TypeAlias = UserRegistered | UserRolesChanged | UserDeactivated


# Workers


class WorkerRegistered(Event):
    """A worker process started and will claim from these queues."""

    wire_type: ClassVar[str] = "worker.registered"

    name: str
    hostname: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    labels: dict[str, str] = NOTHING
    runner: str
    code_version: str


class WorkerDrained(Event):
    """The worker takes no new work; what runs may end."""

    wire_type: ClassVar[str] = "worker.drained"


class WorkerStopped(Event):
    """The worker ended in good order."""

    wire_type: ClassVar[str] = "worker.stopped"

    reason: str


WorkerEvent: TypeAlias = WorkerRegistered | WorkerDrained | WorkerStopped


# Redactions


class EventRedacted(Event):
    """What the event at `position` told was erased, but for what its type can't do without.

    Its stream is that event's id. `remaining_hash` is the hex SHA-256 of what is left, as
    canonical JSON (RFC 8785): its own hash can't be checked any more. Of an archived event also
    the archive object that it is in, which from now on is the one of this key and SHA-256 (hex).
    """

    wire_type: ClassVar[str] = "event.redacted"

    position: int
    reason: str
    remaining_hash: str
    object_id: UUID | None = None
    object_key: str | None = None
    sha256: str | None = None


RedactionEvent: TypeAlias = EventRedacted


# Archives


class StreamsArchived(Event):
    """Whole streams went from the log into an object of the object store, with their proofs.

    `sha256` (hex) is the object's; its stream is the object's id.
    """

    wire_type: ClassVar[str] = "streams.archived"

    object_key: str
    sha256: str
    streams: int
    events: int
    first_position: int
    last_position: int


ArchiveEvent: TypeAlias = StreamsArchived


# Projections


class ProjectionRebuilt(Event):
    """A read table was made anew from the log, and put in the place of the one before.

    `digest` is of its `rows` as of `position`, the last event that it shows. `differed`: the
    table before was not what the log said. `code_version` names the rules that folded it.
    """

    wire_type: ClassVar[str] = "projection.rebuilt"

    name: str
    position: int
    rows: int
    digest: str
    events: int
    differed: bool
    code_version: str


ProjectionEvent: TypeAlias = ProjectionRebuilt


# Access: what was asked for and not done, and what others read. Each event sums up a minute of one
# API process, and is a stream of its own.


class _Summary(Event):
    """`count` requests of one caller, from `first_at` to `last_at`.

    The envelope tells who and from where, and has the request id of the first; `operations` are
    the first ten different ones.
    """

    count: int
    first_at: datetime
    last_at: datetime
    operations: tuple[str, ...] = ()


class _Unserved(_Summary):
    """Requests that came to nothing.

    `network`: the callers of this IPv6 network are taken together. `is_rest`: there were too many
    callers to tell them apart, and these are all others.
    """

    network: str | None = None
    is_rest: bool = False


class AccessDenied(_Unserved):
    """Requests were turned away for want of a token that holds, a role or a scope."""

    wire_type: ClassVar[str] = "access.denied"

    reason: DeniedReason


class AccessRefused(_Unserved):
    """Requests did not fit the state of things."""

    wire_type: ClassVar[str] = "access.refused"

    reason: RefusedReason


class AccessLogRead(_Summary):
    """Somebody else than its owner read a job's log."""

    wire_type: ClassVar[str] = "access.log_read"

    job_id: UUID


class AccessArtifactRead(_Summary):
    """Somebody else than its owner listed or read what a job left."""

    wire_type: ClassVar[str] = "access.artifact_read"

    job_id: UUID


AccessEvent: TypeAlias = AccessDenied | AccessRefused | AccessLogRead | AccessArtifactRead

AnyEvent: TypeAlias = (
    JobEvent
    | TokenEvent
    | UserEvent
    | WorkerEvent
    | RedactionEvent
    | ArchiveEvent
    | ProjectionEvent
    | AccessEvent
)
