"""Table `audit_events`: who did what, from where, newest first. All its writes and all its queries.

It follows the log: a narrow row for each event, with an index for each question. What an event
says beyond that is read from the log, for the rows of one page.
"""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal
from uuid import UUID

import asyncpg

from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.record import RecordedEvent
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
_PLANNED_FOR_ITS_VALUES: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
_NAME: Final = "audit_events"
_NEWEST: Final = 2**63 - 1


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
            *await _actor(connection, wanted.actor),
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
    if wanted.actor is None or wanted.type is None:
        return wanted.stream_type
    return wanted.stream_type or wanted.type.partition(".")[0]


async def _actor(
    connection: Connection, actor: UUID | Literal["system", "anonymous"] | None
) -> tuple[str | None, UUID | None, UUID | None]:
    """Return what must be the actor's type, its id and its token's; no two have the same id."""
    if not isinstance(actor, UUID):
        return actor, None, None
    if await connection.fetchval(SQL["is_token"], actor):
        return None, None, actor
    return None, actor, None


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


async def _refill(connection: Connection) -> Compared:
    """Put what the log says in the place of all rows; readers see them until the commit."""
    position = await connection.fetchval(SQL["held"]) or 0
    made, live = await _digests(connection, position)
    await connection.execute(SQL["forget"], position)
    await _write(connection, 0, position)
    return Compared(position, made, live, ())


async def _digests(connection: Connection, position: int) -> tuple[Digest, Digest]:
    """Return the digests of what the log makes, and of what is there."""
    made = await connection.fetchrow(SQL["digest_of_log"], 0, position)
    live = await connection.fetchrow(SQL["digest"], position)
    assert made is not None and live is not None  # noqa: S101, PT018  an aggregate always has a row
    return Digest(*made), Digest(*live)


SUBSCRIPTION: Final = Subscription(_NAME, frozenset(EVENT_TYPES), _write, _compare, _refill)
