"""Every fact the log can hold: one frozen model per event, with its wire name. Their front door.

These modules only say what events *are*. Who may record one, and when, is said by the
TRANSITIONS table beside each stream's rules.

Nothing here is secret: a token is its SHA-256, a secret value is sealed. What of an event is left
when it is redacted says `redaction`.
"""

from datetime import datetime
from typing import ClassVar, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.access_events import (
    AccessArtifactRead,
    AccessDenied,
    AccessEvent,
    AccessExported,
    AccessLogRead,
    AccessRefused,
    DeniedReason,
    RefusedReason,
)
from reactorcide.eventstore.domain.event import (
    NOTHING,
    REDACTED,
    Event,
    Json,
)
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
    OnLostLease,
    SourceType,
)

__all__ = [
    "NOTHING",
    "REDACTED",
    "AccessArtifactRead",
    "AccessDenied",
    "AccessEvent",
    "AccessExported",
    "AccessLogRead",
    "AccessRefused",
    "AnyEvent",
    "ArchiveEvent",
    "DeniedReason",
    "Event",
    "EventRedacted",
    "JobCancelRequested",
    "JobCancelled",
    "JobClaimed",
    "JobCompleted",
    "JobDeleted",
    "JobEvent",
    "JobFailed",
    "JobLeaseExpired",
    "JobQueued",
    "JobReleased",
    "JobRetryScheduled",
    "JobStarted",
    "JobSubmitted",
    "JobTimedOut",
    "Json",
    "OnLostLease",
    "ProjectionEvent",
    "ProjectionRebuilt",
    "RedactionEvent",
    "RefusedReason",
    "SourceType",
    "StreamsArchived",
    "TokenEvent",
    "TokenIssued",
    "TokenRevoked",
    "TokenRotated",
    "UserDeactivated",
    "UserEvent",
    "UserRegistered",
    "UserRolesChanged",
    "WorkerDrained",
    "WorkerEvent",
    "WorkerRegistered",
    "WorkerStopped",
]

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
