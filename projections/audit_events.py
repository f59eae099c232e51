"""Table `audit_events`: who did what, from where, newest first. All its writes and all its queries.

It follows the log: a narrow row for each event, with an index for each question. What an event
says beyond that is read from the log, for the rows of one page.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, get_args
from uuid import UUID

import asyncpg

from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.domain.events import (
    AccessArtifactRead,
    AccessDenied,
    AccessLogRead,
    AccessRefused,
)
from reactorcide.eventstore.record import RecordedEvent, StreamType
from reactorcide.projections import checkpoints
from reactorcide.projections.sql import statements
from reactorcide.projections.subscription import Compared, Subscription
from reactorcide.projections.table import Difference, Digest

_TEXTS_PART: Final = statements(__file__)
SQL: Final = {
    name: text.replace("SELECT FROM folded", _TEXTS_PART["fold"])
    for name, text in _TEXTS_PART.items()
}

_WRITE: Final = "INSERT INTO audit_events " + SQL["fold"]
COLUMNS: Final = (
    *("position", "recorded_at", "reached_at", "is_late", "type", "stream_type", "stream_id"),
    *("actor_type", "actor_id", "token_id", "ip", "request_id", "correlation_id"),
    *("causation_id", "event_id", "outcome"),
)
_PLANNED_FOR_ITS_VALUES: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
_NAME: Final = "audit_events"
_STREAM_TYPES: Final = frozenset(get_args(StreamType))
_NEWEST: Final = 2**63 - 1

# As the fold has it, for what is not in the table any more.
_OUTCOMES: Final = {AccessDenied.wire_type: "denied", AccessRefused.wire_type: "refused"}
_READS: Final = {AccessLogRead.wire_type, AccessArtifactRead.wire_type}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events are asked for; None lets all pass."""

    actor: UUID | Literal["system", "anonymous"] | None = None
    """The id of a user, worker or token; or the system itself; or nobody known."""
    type: str | None = None
    stream_id: UUID | None = None
    stream_type: str | None = None
    ip: IPv4Address | IPv6Address | None = None
    request_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    """Included."""
    until: datetime | None = None
    """Not included."""
    job_id: UUID | None = None
    """The job that was read."""

    def passes(self, event: RecordedEvent) -> bool:
        """Tell whether an event passes that is not in the table any more."""
        pairs = (
            (self.type, event.type),
            (self.stream_id, event.stream_id),
            (self.stream_type, event.stream_type),
            (self.ip and str(self.ip), event.ip),
            (self.request_id, event.request_id),
            (self.outcome, _OUTCOMES.get(event.type, "success")),
            (self.job_id, _job_read(event)),
        )
        return (
            all(wanted in {None, found} for wanted, found in pairs)
            and (
                self.actor is None
                or self.actor in {event.actor_id, event.token_id, event.actor_type}
            )
            and (self.since is None or event.recorded_at >= self.since)
            and (self.until is None or event.recorded_at < self.until)
        )


def _job_read(event: RecordedEvent) -> UUID | None:
    """Return the job that somebody else than its owner read."""
    return UUID(json.loads(event.data)["job_id"]) if event.type in _READS else None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Part of the events that pass, newest first."""

    events: tuple[RecordedEvent, ...]
    next_before: int | None
    """The position that the next page begins before; None after the last one."""


async def page(
    pool: Pool, wanted: AuditFilter, before: int | None, limit: int, offset: int = 0
) -> AuditPage:
    """Return the newest `limit` events before a position, `offset` behind the first."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(_PLANNED_FOR_ITS_VALUES)
        found = await connection.fetch(
            SQL["page"],
            _NEWEST if before is None else before,
            limit + 1,
            offset,
            *await actor_of(connection, wanted.actor),
            wanted.type,
            wanted.stream_id,
            _stream_type(wanted),
            wanted.ip,
            wanted.request_id,
            wanted.outcome,
            wanted.since,
            wanted.until,
            wanted.job_id,
        )
    events = tuple(RecordedEvent._make(row) for row in found[:limit])
    return AuditPage(events, events[-1].position if len(found) > limit else None)


def _stream_type(wanted: AuditFilter) -> str | None:
    """Return the stream type; the one that a type says, where that leads to a smaller index."""
    if wanted.stream_type is not None or wanted.actor is None or wanted.type is None:
        return wanted.stream_type
    kind = wanted.type.partition(".")[0]
    return kind if kind in _STREAM_TYPES else None  # event.redacted is of no stream type `event`


async def actor_of(
    connection: Connection, actor: UUID | Literal["system", "anonymous"] | None
) -> tuple[str | None, UUID | None, UUID | None]:
    """Return what must be the actor's type, its id and its token's; no two have the same id."""
    if not isinstance(actor, UUID):
        return actor, None, None
    if await connection.fetchval(SQL["is_token"], actor):
        return None, None, actor
    return None, actor, None


async def drop_streams(connection: Connection, stream_ids: Sequence[UUID]) -> None:
    """Drop the rows of streams that leave the log, which must all be before the checkpoint.

    In a transaction, in which the table stays a fold of what is left.
    """
    await connection.execute(SQL["held"])
    (gone,) = await connection.fetch(SQL["drop"], stream_ids)
    if gone[0] is not None:
        await connection.execute(SQL["reach"], *gone)


async def _write(connection: Connection, after: int, until: int) -> None:
    await connection.execute(_WRITE, after, until)


async def _compare(connection: Connection, limit: int) -> Compared:
    """Compare the table with the log; in REPEATABLE READ, so that both are of one moment."""
    position = await checkpoints.position(connection, _NAME)
    made, live = await _digests(connection, position)
    found: list[asyncpg.Record] = []
    if made != live:
        found = await connection.fetch(SQL["differences"], 0, position, limit)
    differences = [Difference(row["key"], row["kind"], tuple(row["columns"])) for row in found]
    return Compared(position, made, live, tuple(differences))


async def _write_beside(connection: Connection, after: int, until: int) -> None:
    await connection.execute(_beside(_WRITE), after, until)


def _beside(statement: str) -> str:
    """Return a statement about the table that is being made anew."""
    return statement.replace("audit_events", "audit_events_rebuild")


async def _digests_beside(connection: Connection, until: int) -> tuple[Digest, Digest]:
    """Return the digests of what is there, and of what is beside."""
    live = await connection.fetchrow(SQL["digest"], until)
    made = await connection.fetchrow(_beside(SQL["digest"]), until)
    assert made is not None and live is not None  # noqa: S101, PT018  an aggregate always has a row
    return Digest(*live), Digest(*made)


async def _digests(connection: Connection, position: int) -> tuple[Digest, Digest]:
    """Return the digests of what the log makes, and of what is there."""
    made = await connection.fetchrow(SQL["digest_of_log"], 0, position)
    live = await connection.fetchrow(SQL["digest"], position)
    assert made is not None and live is not None  # noqa: S101, PT018  an aggregate always has a row
    return Digest(*made), Digest(*live)


SUBSCRIPTION: Final = Subscription(
    name=_NAME,
    known_types=frozenset(EVENT_TYPES),
    write=_write,
    compare=_compare,
    write_beside=_write_beside,
    digests_beside=_digests_beside,
    key="position",
    columns=COLUMNS,
)
