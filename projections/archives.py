"""Tables `archived_objects` and `archived_streams`: which streams left the log, and where they are.

All their writes and all their queries, and what reads an archived stream from its object. They
are no fold of the log, but can be made anew from the objects that `streams.archived` names.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from reactorcide.eventstore.archived import events_of
from reactorcide.eventstore.database import Connection, Reader, database_errors
from reactorcide.eventstore.objects import ObjectMissing, ObjectStore
from reactorcide.eventstore.record import RecordedEvent

_KEEP_OBJECT: Final = """
INSERT INTO archived_objects
    (object_id, object_key, sha256, streams, events, first_position, last_position,
    last_recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_KEEP_STREAMS: Final = """
INSERT INTO archived_streams
SELECT
    w.stream_id, $1, w.events, w.first_position, w.last_position, w.block_start, w.block_end,
    w.stream_type, w.ended_as
FROM unnest(
    $2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
    $9::text[]
) AS w (
    stream_id, events, first_position, last_position, block_start, block_end, stream_type, ended_as
)"""
_DELETE: Final = "SELECT delete_archived($1)"
_KEYS: Final = "SELECT object_key FROM archived_objects WHERE object_key = ANY ($1::text[])"
_OBJECT: Final = """
SELECT object_key, sha256, last_recorded_at FROM archived_objects WHERE object_id = $1"""
_STREAMS: Final = """
SELECT
    stream_id, events, first_position, last_position, block_start, block_end, stream_type, ended_as
FROM archived_streams WHERE object_id = $1 ORDER BY block_start, stream_id"""
_BLOCK: Final = """
SELECT o.object_key, s.block_start, s.block_end
FROM archived_streams AS s JOIN archived_objects AS o USING (object_id) WHERE s.stream_id = $1"""
# Whoever reads all objects, or adds some, against whoever replaces one.
_HOLD: Final = "SELECT pg_advisory_lock_shared(hashtext('reactorcide_archive'))"
_TAKE: Final = "SELECT pg_try_advisory_xact_lock(hashtext('reactorcide_archive'))"
_AROUND: Final = """
SELECT DISTINCT o.object_id, o.object_key, o.sha256, s.block_start, s.block_end
FROM archived_objects AS o JOIN archived_streams AS s USING (object_id)
WHERE o.first_position <= $1 AND o.last_position >= $1
    AND s.first_position <= $1 AND s.last_position >= $1
ORDER BY o.object_id, s.block_start"""
_REPLACE: Final = "SELECT replace_archived($1, $2, $3, $4)"
_NEWEST: Final = """
SELECT last_recorded_at FROM archived_objects ORDER BY last_recorded_at DESC LIMIT 1"""


class ArchivedStream(NamedTuple):
    """A stream in an object: its lines are in the gzip member between two bytes."""

    stream_id: UUID
    events: int
    first_position: int
    last_position: int
    block_start: int
    block_end: int
    stream_type: str
    ended_as: str | None
    """The status that a job ended in; None for what is no job."""


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object of archived streams."""

    object_id: UUID
    object_key: str
    sha256: bytes
    streams: Sequence[ArchivedStream]
    """At least one."""
    last_recorded_at: datetime
    """Of all its events."""

    @property
    def events(self) -> int:
        """How many it holds."""
        return sum(one.events for one in self.streams)

    @property
    def first_position(self) -> int:
        """Of all its events."""
        return min(one.first_position for one in self.streams)

    @property
    def last_position(self) -> int:
        """Of all its events."""
        return max(one.last_position for one in self.streams)


def folder_of(origin: str) -> str:
    """Return where the objects of a log are, by its origin."""
    return f"archive/{origin.partition('/')[2]}"


def key_of(origin: str, object_id: UUID) -> str:
    """Return the key of a new object."""
    return f"{folder_of(origin)}/{object_id}.ndjson.gz"


async def keep(connection: Connection, made: ArchivedObject) -> None:
    """Note where the streams are."""
    await connection.execute(
        _KEEP_OBJECT,
        made.object_id,
        made.object_key,
        made.sha256,
        len(made.streams),
        made.events,
        made.first_position,
        made.last_position,
        made.last_recorded_at,
    )
    columns = [list(column) for column in zip(*made.streams, strict=True)]
    await connection.execute(_KEEP_STREAMS, made.object_id, *columns)


async def delete_events(connection: Connection, object_id: UUID) -> int:
    """Delete the events of an object's streams from the log, in the transaction that kept it.

    From here to its end nobody appends. PostgreSQL refuses it (40001) when a stream is not as it
    was archived.
    """
    deleted: int = await connection.fetchval(_DELETE, object_id)
    return deleted


async def unknown(connection: Reader, keys: Sequence[str]) -> list[str]:
    """Return those keys that are no kept object's."""
    known = {row[0] for row in await connection.fetch(_KEYS, keys)}
    return [key for key in keys if key not in known]


async def find(connection: Reader, object_id: UUID) -> ArchivedObject | None:
    """Return an object and what it holds; None when it is not kept."""
    row = await connection.fetchrow(_OBJECT, object_id)
    if row is None:
        return None
    streams = [ArchivedStream(*one) for one in await connection.fetch(_STREAMS, object_id)]
    return ArchivedObject(object_id, row[0], row[1], streams, row[2])


async def newest(connection: Reader) -> datetime | None:
    """Return the latest time at which anything that is archived was recorded, if anything is."""
    moment: datetime | None = await connection.fetchval(_NEWEST)
    return moment


async def read_stream(
    connection: Reader, objects: ObjectStore, stream_id: UUID
) -> list[RecordedEvent]:
    """Return an archived stream's events; none for a stream that is not archived.

    Raises ObjectStoreError.
    """
    place = await _place(connection, stream_id)
    if place is None:
        return []
    try:
        block = await objects.read(*place)
    except ObjectMissing:
        moved = await _place(connection, stream_id)
        if moved is None or moved == place:
            raise
        block = await objects.read(*moved)  # another object has just taken the place of that one
    return events_of(gzip.decompress(block), stream_id)


async def _place(connection: Reader, stream_id: UUID) -> asyncpg.Record | None:
    with database_errors():
        return await connection.fetchrow(_BLOCK, stream_id)


async def hold(connection: Connection) -> None:
    """Let no object be replaced while the session lasts."""
    await connection.execute(_HOLD)


async def take(connection: Connection) -> bool:
    """Have the objects to oneself until the transaction ends; False when somebody holds them."""
    is_taken: bool = await connection.fetchval(_TAKE)
    return is_taken


class Block(NamedTuple):
    """A gzip member of an object."""

    object_id: UUID
    object_key: str
    sha256: bytes
    """Of the whole object."""
    start: int
    end: int


async def around(connection: Reader, position: int) -> list[Block]:
    """Return the members that the event at a position may be in, if it is archived."""
    return [Block(*row) for row in await connection.fetch(_AROUND, position)]


async def replace(connection: Connection, block: Block, event_id: UUID, growth: int) -> str:
    """Let another object take the place of one, in which a member is so many bytes longer.

    In the transaction that has recorded the `event.redacted` of event `event_id`, which names the
    object. Returns the key of the object that is no use any more.
    """
    old: str = await connection.fetchval(_REPLACE, block.object_id, event_id, block.start, growth)
    return old
