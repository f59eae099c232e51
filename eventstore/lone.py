"""How one new stream begins, and how those who wait for it hear. A part of `store`.

For programs that begin stream after stream: nearly all of what is sent was made before. Where
nothing was rung lately the ring goes along with the append, in one round trip: a procedure of the
database writes, commits, and only then rings.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from reactorcide.eventstore import append_sql
from reactorcide.eventstore.append_columns import context_columns, ids
from reactorcide.eventstore.database import StatementRefused
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.ids import new_beginning
from reactorcide.eventstore.inline_rows import Announced, RowsToNew
from reactorcide.eventstore.record import AppendToNew, Row
from reactorcide.eventstore.store import Fetch

_KEPT: Final = 256

_BEGUN: Final = """
SELECT recorded_at FROM events WHERE stream_id = ($1::text::uuid[])[1] AND version = 1"""

_UNRUNG: Final = ("42", "54")
"""Refusals of the ring alone: who may not call the procedure, and no room for what is rung. The
latter comes behind the commit."""


async def append_to_new_one(
    fetch: Fetch, append: AppendToNew, rows: RowsToNew, doorbell: Doorbell | None = None
) -> datetime:
    """Begin one stream as `append_to_new` does many, and ring for the topics that `rows` name.

    One round trip: also with the ring, where nothing was rung lately. `fetch` runs a query of
    ours, on a connection outside of a transaction.
    """
    one = _lone(append.type, append.schema_version, append.rows[0], rows)
    context = context_columns(append.contexts[0])
    event = new_beginning(), append.data[0]
    arguments = ids(append.stream_ids), append.stream_type, *context, *event, *one.arguments
    if doorbell is None or one.announced is None:
        return await _time_of(fetch, one.sql, arguments)
    if not doorbell.take_ring():
        recorded_at = await _time_of(fetch, one.sql, arguments)
    else:
        try:
            return await _time_of(fetch, one.ringing, arguments)
        except StatementRefused as error:
            if not error.sqlstate.startswith(_UNRUNG):
                raise
        recorded_at = await _written_after_all(fetch, one.sql, arguments)
    for topic in one.announced.topics:
        doorbell.ring(topic)
    return recorded_at


async def _written_after_all(fetch: Fetch, sql: str, arguments: Sequence[object]) -> datetime:
    """Begin a stream that could not be rung for; it may be in the log already."""
    try:
        return await _time_of(fetch, sql, arguments)
    except StatementRefused:
        found = await fetch(_BEGUN, arguments[0])
        if not found:
            raise
    recorded_at: datetime = found[0][0]
    return recorded_at


async def _time_of(fetch: Fetch, sql: str, arguments: Sequence[object]) -> datetime:
    (found,) = await fetch(sql, *arguments)
    recorded_at: datetime = found[0]
    return recorded_at


class _Lone(NamedTuple):
    """How one new stream begins, but for its id, its event and who caused that."""

    sql: str
    ringing: str
    """The same with the ring behind its commit; where there is something to announce."""
    announced: Announced | None
    arguments: tuple[Any, ...]
    """Of its row."""


@lru_cache(_KEPT)
def _lone(kind: str, schema_version: int, row: Row, rows: RowsToNew) -> _Lone:
    """Make once what a program that begins stream after stream would make each time."""
    fresh = rows((row,))
    sql = append_sql.fresh(append_sql.Fresh(kind, schema_version), fresh.sql, to_many=True)
    ringing = ""
    if fresh.announced is not None:
        count = append_sql.FIRST_OF_FRESH_ROWS - 1 + len(fresh.arguments)
        ringing = append_sql.call(fresh.announced.procedure, count)
    return _Lone(sql, ringing, fresh.announced, fresh.arguments)
