"""Tables `rebuilds` and `rebuild_slices`: what a rebuild has done. All their writes and queries.

A slice's position is written in the transaction that writes its rows into the table beside, so
whoever goes on after a kill knows what is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Connection, Reader


class Slice(NamedTuple):
    """The streams from one id to another, both included."""

    first: UUID
    last: UUID


EVERYTHING: Final = Slice(UUID(int=0), UUID(int=2**128 - 1))

_FIND: Final = """
SELECT made_by, has_indexes, to_regclass($2) IS NOT NULL AS has_table
FROM rebuilds WHERE name = $1"""
# What a table looks like: another column or partition is another table.
_SHAPE: Final = """
SELECT md5(coalesce(string_agg(concat_ws(' ', c.relname, pg_get_expr(c.relpartbound, c.oid),
    a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull),
    ',' ORDER BY c.relname, a.attnum), ''))
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid = $1::text::regclass
    OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass)"""
_BEGIN: Final = "INSERT INTO rebuilds (name, made_by) VALUES ($1, $2)"
_CUT: Final = """
INSERT INTO rebuild_slices (name, first, last)
SELECT $1, first, last FROM unnest($2::uuid[], $3::uuid[]) AS s (first, last)"""
_END: Final = "DELETE FROM rebuilds WHERE name = $1"
_INDEXED: Final = "UPDATE rebuilds SET has_indexes = true WHERE name = $1"
_NEXT: Final = """
SELECT first, last FROM rebuild_slices WHERE name = $1 AND position IS NULL
ORDER BY first LIMIT 1 FOR UPDATE SKIP LOCKED"""
_WAIT_FOR_NEXT: Final = """
SELECT first, last FROM rebuild_slices WHERE name = $1 AND position IS NULL
ORDER BY first LIMIT 1 FOR UPDATE"""
_REACH: Final = "UPDATE rebuild_slices SET position = $3 WHERE name = $1 AND first = $2"
_REACH_ALL: Final = "UPDATE rebuild_slices SET position = $2 WHERE name = $1"
_REACHED: Final = "SELECT min(position) FROM rebuild_slices WHERE name = $1"
_LEFT: Final = """
SELECT count(*) AS slices, count(*) FILTER (WHERE position IS NULL) AS left
FROM rebuild_slices WHERE name = $1"""
# Those that went on, and those of which an event was redacted. The position's index finds what
# is new, however much there is before.
_TOUCHED: Final = """
SELECT DISTINCT e.stream_id
FROM (
    SELECT stream_id, position FROM events
    WHERE stream_type = $2 AND position > $3 AND position <= $4
    UNION ALL
    SELECT told.stream_id, redaction.position FROM events AS redaction
    JOIN events AS told ON told.position = (redaction.data ->> 'position')::bigint
    WHERE redaction.stream_type = 'redaction' AND told.stream_type = $2
        AND redaction.position > $3 AND redaction.position <= $4
) AS e
JOIN rebuild_slices AS s ON s.name = $1
    AND e.stream_id BETWEEN s.first AND s.last AND e.position > s.position
ORDER BY e.stream_id"""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A rebuild that somebody began."""

    made_by: str
    has_indexes: bool
    has_table: bool


async def find(connection: Reader, name: str, beside: str) -> UnderWay | None:
    """Return what is left of a rebuild that has not ended."""
    row = await connection.fetchrow(_FIND, name, beside)
    return None if row is None else UnderWay(*row)


async def shape(connection: Reader, table: str) -> str:
    """Return a digest of a table's columns and partitions."""
    text: str = await connection.fetchval(_SHAPE, table)
    return text


async def begin(connection: Connection, name: str, made_by: str, slices: Sequence[Slice]) -> None:
    """Note a rebuild, and the slices that it will fold."""
    await connection.execute(_BEGIN, name, made_by)
    firsts, lasts = zip(*slices, strict=True)
    await connection.execute(_CUT, name, firsts, lasts)


async def end(connection: Connection, name: str) -> None:
    """Forget a rebuild."""
    await connection.execute(_END, name)


async def indexed(connection: Connection, name: str) -> None:
    """Note that the table beside has its indexes."""
    await connection.execute(_INDEXED, name)


async def next_slice(connection: Connection, name: str, *, waits: bool = False) -> Slice | None:
    """Return a slice that nobody has folded yet, locked until the transaction ends.

    None without any that is not locked; `waits` for one that is.
    """
    row = await connection.fetchrow(_WAIT_FOR_NEXT if waits else _NEXT, name)
    return None if row is None else Slice(*row)


async def reach(connection: Connection, name: str, part: Slice, position: int) -> None:
    """Note up to where all events of a slice's streams are in the table beside."""
    await connection.execute(_REACH, name, part.first, position)


async def reach_all(connection: Connection, name: str, position: int) -> None:
    """Note the same of all slices."""
    await connection.execute(_REACH_ALL, name, position)


async def reached(connection: Reader, name: str) -> int:
    """Return up to where all events are in the table beside; 0 while a slice is not there."""
    return await connection.fetchval(_REACHED, name) or 0


async def left(connection: Reader, name: str) -> tuple[int, int]:
    """Return how many slices there are, and how many are not folded."""
    slices, unfolded = await connection.fetchrow(_LEFT, name)  # type: ignore[misc]  # an aggregate
    return slices, unfolded


async def touched(connection: Reader, name: str, stream_type: str, until: int) -> list[UUID]:
    """Return streams that went on or were redacted since they were folded, up to a position."""
    after = await reached(connection, name)
    return [row[0] for row in await connection.fetch(_TOUCHED, name, stream_type, after, until)]
