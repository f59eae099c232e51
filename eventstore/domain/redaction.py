"""The rules of redaction: what of an event stays, and when one may be redacted.

`STAYS` says it for each type of event, and is the only place that does. Whether an event is
sealed, and what its remains hash to, is not known here.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.decider import fold
from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.domain.events import (
    REDACTED,
    AccessArtifactRead,
    AccessDenied,
    AccessExported,
    AccessLogRead,
    AccessRefused,
    AnyEvent,
    Event,
    EventRedacted,
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobDeleted,
    JobFailed,
    JobLeaseExpired,
    JobQueued,
    JobReleased,
    JobRetryScheduled,
    JobStarted,
    JobSubmitted,
    JobTimedOut,
    ProjectionRebuilt,
    RedactionEvent,
    StreamsArchived,
    TokenIssued,
    TokenRevoked,
    TokenRotated,
    UserDeactivated,
    UserRegistered,
    UserRolesChanged,
    WorkerDrained,
    WorkerRegistered,
    WorkerStopped,
)
from reactorcide.eventstore.domain.job import FINAL, JOB, Status
from reactorcide.eventstore.domain.once import Made, made_once, transitions
from reactorcide.eventstore.domain.user import USER, UserStatus

_STAYS: Final[Mapping[type[AnyEvent], str]] = {
    JobSubmitted: "user_id source_type timeout_seconds priority queue_name max_attempts "
    "on_lost_lease retry_backoff_seconds run_at depends_on retry_of waits",
    JobQueued: "",
    JobClaimed: "attempt worker_id lease_seconds",
    JobStarted: "attempt",
    JobReleased: "attempt",
    JobLeaseExpired: "attempt worker_id",
    JobRetryScheduled: "attempt outcome exit_code retry_at",
    JobCancelRequested: "grace_seconds",
    JobCancelled: "attempt exit_code",
    JobCompleted: "attempt exit_code",
    JobFailed: "attempt exit_code",
    JobTimedOut: "attempt exit_code",
    JobDeleted: "",
    TokenIssued: "user_id token_hash prefix scopes expires_at rotated_from",
    TokenRevoked: "",
    TokenRotated: "successor_id valid_until",
    UserRegistered: "roles",
    UserRolesChanged: "roles",
    UserDeactivated: "",
    WorkerRegistered: "pid queues concurrency runner code_version",
    WorkerDrained: "",
    WorkerStopped: "",
    EventRedacted: "position remaining_hash object_id object_key sha256",
    StreamsArchived: "object_key sha256 streams events first_position last_position",
    ProjectionRebuilt: "name position rows digest events differed code_version",
    AccessDenied: "count first_at last_at operations is_rest reason",
    AccessRefused: "count first_at last_at operations is_rest reason",
    AccessLogRead: "count first_at last_at operations job_id",
    AccessArtifactRead: "count first_at last_at operations job_id",
    AccessExported: "count first_at last_at operations format after to events last_position "
    "is_whole",
}

STAYS: Final[Mapping[type[Event], frozenset[str]]] = MappingProxyType(
    {event_type: frozenset(names.split()) for event_type, names in _STAYS.items()}
)
"""The fields of each type that a redaction leaves: ids, numbers, times, and words of ours.

A type that is not here can't be redacted; a test says that all are. What is not named is erased,
so a new field is erased unless somebody says that it must stay.
"""

DISTINCT: Final = frozenset({(UserRegistered, "username"), (UserRegistered, "email")})
"""Texts that no two streams may share: the mark carries the stream's id."""


def remains(event_type: type[Event], data: Mapping[str, Any], stream_id: UUID) -> dict[str, Any]:
    """Return what is left of an event's data, as JSON values: less of the same, and marks.

    A text becomes a mark, so that one sees that there was one; what else does not stay is left
    out, which means its default.
    """
    left: dict[str, Any] = {}
    for name, value in data.items():
        if name in STAYS[event_type]:
            left[name] = value
        elif isinstance(value, str):
            is_distinct = (event_type, name) in DISTINCT
            left[name] = f"{REDACTED} {stream_id}" if is_distinct else REDACTED
    return left


def check_ended(history: Sequence[AnyEvent]) -> None:
    """Raise NotLegal while somebody may still need what an event of this stream says.

    Tokens and workers need nothing of what is erased.
    """
    match history[0]:
        case JobSubmitted():
            status: str = fold(JOB, history).status  # type: ignore[misc]  # one stream, one union
            has_ended = status in FINAL or status == Status.DELETED
        case UserRegistered():
            status = fold(USER, history).status  # type: ignore[misc]  # as above
            has_ended = status == UserStatus.INACTIVE
        case _:
            return
    if not has_ended:
        detail = f"what a {history[0].wire_type.split('.')[0]} that is {status} needs stays"
        raise NotLegal(detail=detail, current_status=status)


class RedactionStatus(StrEnum):
    """Where the redaction of an event stands."""

    NONE = "none"
    REDACTED = "redacted"


RedactionState: TypeAlias = Made[RedactionStatus, RedactionEvent]

TRANSITIONS: Final = transitions(RedactionStatus.NONE, RedactionStatus.REDACTED, EventRedacted)

REDACTION: Final = made_once("redaction", TRANSITIONS, "the event is redacted already")
