"""The facts about access: what was asked for and not done, and what others read.

Each is a stream of its own; all but exports sum up a minute of one API process.
"""

from datetime import datetime
from typing import ClassVar, Literal, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.event import NOTHING, Event

DeniedReason: TypeAlias = Literal["no_token", "bad_header", "bad_token", "forbidden", "hidden"]
RefusedReason: TypeAlias = Literal["conflict", "precondition_failed", "precondition_required"]


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
    """Requests were turned away for want of a token that holds, a role or a scope.

    `hidden`: what they asked for is there and somebody else's, and they were told it is not.
    """

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


class AccessExported(_Summary):
    """Somebody took events of the trail along as a file, or a part of one: one request each.

    `filters` as they were asked for; the file was to have the positions behind `after` and up to
    `to`. `events` of them were handed to the connection, the last one at `last_position`. One that
    is not `is_whole` broke off.
    """

    wire_type: ClassVar[str] = "access.exported"

    format: str
    filters: dict[str, str] = NOTHING
    after: int
    to: int
    events: int
    last_position: int | None = None
    is_whole: bool


AccessEvent: TypeAlias = (
    AccessDenied | AccessRefused | AccessLogRead | AccessArtifactRead | AccessExported
)
