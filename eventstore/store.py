"""The log on PostgreSQL: append, and read back. The only writer of table `events`.

How an append keeps its promises, in one statement and without a lock that others wait for
through a commit:

* `expected_version` too low: the first event of the append meets the unique index on
  (stream_id, version). Outside of a transaction that refuses the statement, and a careful one
  follows, which leaves out what is too late (ON CONFLICT DO NOTHING); inside of one the
  careful one comes first.
* too high: the event before it is not there, and it is left out.
* all or none per stream: whoever holds the first version of an append holds the stream: nobody
  else can have seen it, so nobody can build on it.
* streams are taken in the order of their ids, so that two appends never wait in a ring.
* positions ascend within a stream: an append draws its own inside the INSERT, and only after
  its snapshot showed the version before it as committed.

Conflicts are rare, and looking for one takes as long as the INSERT itself (see
docs/performance.md): hence the two statements.

A projection's rows may go in the same statement (`InlineRows`), and are then there exactly
when the events are. A projection that has a row per stream with its version may also say which
streams stand where they are expected (`Guard`), instead of a look into the log. Where its rows
say no, the careful statement asks the log after all: the log decides.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

from reactorcide.eventstore import append_sql, guard_sql
from reactorcide.eventstore.append_columns import (
    are_alike,
    columns_to_many,
    columns_to_new,
    context_columns,
    fresh_columns,
    guarded_columns,
    with_everything,
    with_one_context,
)
from reactorcide.eventstore.database import Connection, Reader, StatementRefused
from reactorcide.eventstore.guard_sql import Choice
from reactorcide.eventstore.inline_rows import (
    FreshRows,
    GuardedRows,
    InlineRows,
    Rows,
)
from reactorcide.eventstore.record import (
    Append,
    Appended,
    AppendedToMany,
    AppendResult,
    AppendToFound,
    AppendToMany,
    AppendToNew,
    Conflict,
    RecordedEvent,
)

Fetch: TypeAlias = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Takes SQL and its arguments."""

_NO_ROWS: Final = InlineRows("", ())

_STREAM_VERSION: Final = "events_stream_version"

_COLUMNS_PART: Final = """
    position, event_id, stream_type, stream_id, version, type, schema_version, data::text,
    actor_type, actor_id, token_id, host(ip) AS ip, user_agent, request_id, correlation_id,
    causation_id, recorded_at"""

_READ_STREAM: Final = (
    "SELECT"
    + _COLUMNS_PART
    + """
FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3"""
)

_READ_STREAMS: Final = (
    "SELECT"
    + _COLUMNS_PART
    + """
FROM events WHERE stream_id = ANY ($1::uuid[]) ORDER BY stream_id, version"""
)

_PRESENT: Final = "SELECT coalesce(max(position), 0) AS position, now() AS now FROM events"

_READ_ALL: Final = (
    "SELECT"
    + _COLUMNS_PART
    + """
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"""
)


async def append(
    connection: Connection, appends: Sequence[Append], inline: Rows | None = None
) -> list[AppendResult]:
    """Append to many streams; the results are in the order of `appends`.

    One round trip, and one more when a version was taken. Each append is all or none; a
    conflict in one does not touch the others. Outside of a transaction the call is one commit;
    inside of one it joins it. A stream may occur once, and every append has events (ValueError
    otherwise).
    """
    _check(appends)
    if not appends:
        return []
    held = await _held(connection, appends, inline or _NO_ROWS)
    return [
        Appended(stream_id, version + len(events), row[2], row[3])
        if (row := held.get(stream_id))
        else Conflict(stream_id, version)
        for _, stream_id, version, events, _ in appends
    ]


async def append_to_many(
    connection: Connection, append: AppendToMany, rows: GuardedRows
) -> AppendedToMany:
    """Append one event to each of many streams, as far as the guard finds them where expected.

    One round trip and one commit, for callers outside of a transaction; the guard's no is
    enough. When its yes is wrong, the careful statement asks the log. The arguments of the guard's
    columns have one value for all.
    """
    sql = guard_sql.to_many(rows.guard)
    try:
        (found,) = await connection.fetch(sql, *columns_to_many(append, rows.arguments))
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != _STREAM_VERSION:
            raise
        held = await _carefully(connection, append.each(), rows.otherwise())
        return AppendedToMany(frozenset(held), next((row[3] for row in held.values()), None))
    some, recorded_at = found
    return AppendedToMany(frozenset(append.stream_ids if some is None else some), recorded_at)


async def append_to_found(
    fetch: Fetch, append: AppendToFound, choice: Choice, arguments: Iterable[object]
) -> list[asyncpg.Record]:
    """Append one event to each stream that the choice finds; return what the choice answers.

    One round trip and one commit; `fetch` runs a query of ours, on a connection outside of a
    transaction. Where the log knows better than the rows nothing is appended and nothing
    returned: who names the streams is told which.
    """
    *event, context, ids_begin = append
    try:
        return await fetch(
            guard_sql.found(choice), ids_begin, *event, *context_columns(context), *arguments
        )
    except StatementRefused as error:
        if error.constraint != _STREAM_VERSION:
            raise
        return []


async def append_to_new(connection: Connection, append: AppendToNew, rows: FreshRows) -> datetime:
    """Begin many streams, all or none; return when that was recorded.

    One round trip, for callers outside of a transaction. A stream that is there already refuses
    it (UniqueViolationError).
    """
    shape, arguments = columns_to_new(append)
    sql = append_sql.fresh(shape, rows.sql, to_many=True)
    (found,) = await connection.fetch(sql, *arguments, *rows.arguments)
    recorded_at: datetime = found[0]
    return recorded_at


async def read_stream(
    connection: Reader, stream_id: UUID, after_version: int = 0, limit: int | None = None
) -> list[RecordedEvent]:
    """Return a stream's events after `after_version`, in the order of their versions."""
    return _recorded(await connection.fetch(_READ_STREAM, stream_id, after_version, limit))


async def read_streams(
    connection: Reader, stream_ids: Iterable[UUID]
) -> dict[UUID, list[RecordedEvent]]:
    """Return the events of many streams in one round trip; an unknown stream has no key."""
    streams: dict[UUID, list[RecordedEvent]] = {}
    for event in _recorded(await connection.fetch(_READ_STREAMS, list(stream_ids))):
        streams.setdefault(event.stream_id, []).append(event)
    return streams


async def present(connection: Reader) -> tuple[int, datetime]:
    """Return the position of the last event that can be seen (0: there is none), and the time."""
    (row,) = await connection.fetch(_PRESENT)
    return row[0], row[1]


async def read_all(
    connection: Reader, after_position: int, safe_position: int, limit: int
) -> list[RecordedEvent]:
    """Return the next events of the whole log, in the order of their positions.

    Only up to `safe_position` (see `horizon`): below it nothing can appear any more, so the
    last position returned is a checkpoint.
    """
    return _recorded(await connection.fetch(_READ_ALL, after_position, safe_position, limit))


async def _held(
    connection: Connection, appends: Sequence[Append], inline: Rows
) -> dict[UUID, asyncpg.Record]:
    """Run the statements that do; return the first event of each stream whose append held.

    A refused statement would abort the caller's transaction, so inside of one it is careful
    from the start.
    """
    if connection.is_in_transaction():
        return await _carefully(connection, appends, _unguarded(inline))
    held: dict[UUID, asyncpg.Record] = {}
    try:
        if not isinstance(inline, GuardedRows) or not are_alike(appends):
            return await _plainly(connection, appends, _unguarded(inline))
        held = await _guarded(connection, appends, inline)
        if inline.is_final:
            return held
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != _STREAM_VERSION:
            raise
    missing = [append for append in appends if append.stream_id not in held]
    if missing:
        held |= await _carefully(connection, missing, _unguarded(inline))
    return held


def _unguarded(rows: Rows) -> InlineRows:
    return rows.otherwise() if isinstance(rows, GuardedRows) else rows


async def _plainly(
    connection: Connection, appends: Sequence[Append], rows: InlineRows
) -> dict[UUID, asyncpg.Record]:
    """Insert all; a taken version raises UniqueViolationError."""
    if rows.fresh is not None and (columns := fresh_columns(appends)) is not None:
        shape, values = columns
        sql = append_sql.fresh(shape, rows.fresh.sql)
        return _by_stream(await connection.fetch(sql, *values, *rows.fresh.arguments))
    context = appends[0].context
    if all(append.context is context for append in appends):
        each, arguments = with_one_context(appends, context)
        sql = append_sql.plain(each, rows.sql)
    else:
        sql = append_sql.plain(append_sql.EVERYTHING, rows.sql)
        arguments = with_everything(appends)
    return _by_stream(await connection.fetch(sql, *arguments, *rows.arguments))


async def _carefully(
    connection: Connection, appends: Sequence[Append], rows: InlineRows
) -> dict[UUID, asyncpg.Record]:
    """Insert what stands at its expected version."""
    sql = append_sql.careful(rows.sql)
    arguments = with_everything(appends)
    return _by_stream(await connection.fetch(sql, *arguments, *rows.arguments))


async def _guarded(
    connection: Connection, appends: Sequence[Append], rows: GuardedRows
) -> dict[UUID, asyncpg.Record]:
    """Insert what the guard finds at its expected version."""
    same, arguments = guarded_columns(appends, rows.guard.names, rows.arguments)
    found = await connection.fetch(guard_sql.guarded(rows.guard, same), *arguments)
    return {row[0]: row for row in found}


def _by_stream(rows: Iterable[asyncpg.Record]) -> dict[UUID, asyncpg.Record]:
    """Return the first event of each stream, of all that were inserted, in any order."""
    held: dict[UUID, asyncpg.Record] = {}
    for row in rows:
        known = held.get(row[0])
        if known is None or row[1] < known[1]:
            held[row[0]] = row
    return held


def _check(appends: Sequence[Append]) -> None:
    if not all(append.events for append in appends):
        msg = "every append needs at least one event"
        raise ValueError(msg)
    if len(appends) > 1 and len({append.stream_id for append in appends}) != len(appends):
        msg = "a stream may occur only once in a call of append"
        raise ValueError(msg)


def _recorded(rows: Iterable[asyncpg.Record]) -> list[RecordedEvent]:
    return [RecordedEvent._make(row) for row in rows]
