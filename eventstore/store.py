"""The log on PostgreSQL: append, and read back. The only writer of table `events`.

How an append keeps its promises, in one statement and without a lock that others wait for
through a commit:

* `expected_version` too low: the first event of the append meets the unique index on
  (stream_id, version) and is left out (ON CONFLICT DO NOTHING).
* too high: the event before it is not there, and it is left out.
* all or none per stream: the other events go in only after the first one did. Whoever holds
  that version holds the stream: nobody else can have seen it, so nobody can build on it.
* streams are taken in the order of their ids, so that two appends never wait in a ring.
* positions ascend within a stream: an append draws its own inside the INSERT, and only after
  its snapshot showed the version before it as committed.

Streams that are all new need less, since nobody else knows their ids: a plain INSERT, which is
10-15 % faster than one that may meet a conflict. Should one exist after all, PostgreSQL refuses
the statement, and the careful one follows.

A projection's rows may go in the same statement (`InlineRows`), and are then there exactly
when the events are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Connection, Reader
from reactorcide.eventstore.record import Append, Appended, AppendResult, Conflict, RecordedEvent


@dataclass(frozen=True, slots=True)
class InlineRows:
    """What a projection writes in the same statement as the append.

    `sql` is a constant: `, name AS (INSERT …)` expressions that number their parameters from
    $17 and take only streams in `(SELECT stream_id FROM first)`: those whose append held.
    `arguments` are the values, one per parameter.
    """

    sql: str
    arguments: tuple[Any, ...]


_NO_ROWS: Final = InlineRows("", ())

_INCOMING_PART: Final = """
    FROM unnest(
        $1::uuid[], $2::text[], $3::int[], $4::bool[], $5::uuid[], $6::text[], $7::smallint[],
        $8::jsonb[], $9::text[], $10::uuid[], $11::uuid[], $12::text[], $13::text[],
        $14::text[], $15::uuid[], $16::uuid[]
    ) AS i (
        stream_id, stream_type, version, is_first, event_id, type, schema_version,
        data, actor_type, actor_id, token_id, ip, user_agent,
        request_id, correlation_id, causation_id
    )"""

_INSERT_PART: Final = """
    INSERT INTO events (
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip, user_agent, request_id, correlation_id, causation_id
    )
    SELECT
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip::inet, user_agent, request_id, correlation_id, causation_id"""

_RETURNING_PART: Final = """
    RETURNING stream_id, position, recorded_at"""

# The version check is a scalar subquery, not a join: whatever the planner believes about the
# size of the table, it can only be answered by one look into the unique index per stream.
_WHERE_IT_STANDS_PART: Final = """
    WHERE is_first AND (i.version = 1 OR (
        SELECT 1 FROM events AS e WHERE e.stream_id = i.stream_id AND e.version = i.version - 1
    ) IS NOT NULL)
    ORDER BY stream_id
    ON CONFLICT (stream_id, version) DO NOTHING"""

# One event to each stream, and all of the streams are new.
_ONE_NEW: Final = (
    _INSERT_PART
    + _INCOMING_PART
    + """
    ORDER BY stream_id"""
    + _RETURNING_PART
)

# One event to each stream.
_ONE: Final = _INSERT_PART + _INCOMING_PART + _WHERE_IT_STANDS_PART + _RETURNING_PART

# Any number of events to each stream, and all of the streams are new.
_MANY_NEW_PART: Final = (
    "WITH inserted AS ("
    + _INSERT_PART
    + _INCOMING_PART
    + """
    ORDER BY stream_id, version"""
    + _RETURNING_PART
    + """, version
),
first AS (
    SELECT stream_id, position, recorded_at FROM inserted WHERE version = 1
)"""
)

# Any number of events to each stream.
_MANY_PART: Final = (
    "WITH incoming AS MATERIALIZED (SELECT *"
    + _INCOMING_PART
    + "), first AS ("
    + _INSERT_PART
    + """
    FROM incoming AS i"""
    + _WHERE_IT_STANDS_PART
    + _RETURNING_PART
    + "), rest AS ("
    + _INSERT_PART
    + """
    FROM incoming
    WHERE NOT is_first AND stream_id = ANY (ARRAY(SELECT stream_id FROM first))
    ORDER BY stream_id, version
)"""
)

_RESULT_PART: Final = """
SELECT stream_id, position, recorded_at FROM first"""

# (one event to each stream, all of the streams are new): the statement, or its beginning.
_APPENDS_PART: Final = {
    (True, True): _ONE_NEW,
    (True, False): _ONE,
    (False, True): _MANY_NEW_PART,
    (False, False): _MANY_PART,
}

_STREAM_VERSION: Final = "events_stream_version"

_context_columns: Final = attrgetter(
    "actor_type",
    "actor_id",
    "token_id",
    "ip",
    "user_agent",
    "request_id",
    "correlation_id",
    "causation_id",
)

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

_READ_ALL: Final = (
    "SELECT"
    + _COLUMNS_PART
    + """
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"""
)


@cache
def append_statement(inline_sql: str, *, is_one_each: bool, is_new: bool) -> str:
    """Return the statement for appends of this shape, around a projection's fragment.

    A bare INSERT stays one when there is no fragment: a CTE costs a tenth of a lone append.
    """
    append_sql = _APPENDS_PART[is_one_each, is_new]
    if not is_one_each:
        return append_sql + inline_sql + _RESULT_PART
    if inline_sql:
        return "WITH first AS (" + append_sql + ")" + inline_sql + _RESULT_PART
    return append_sql


async def append(
    connection: Connection, appends: Sequence[Append], inline: InlineRows | None = None
) -> list[AppendResult]:
    """Append to many streams in one round trip; the results are in the order of `appends`.

    Each append is all or none; a conflict in one does not touch the others. Outside of a
    transaction the call is one commit; inside of one it joins it. A stream may occur once, and
    every append has events (ValueError otherwise).
    """
    _check(appends)
    if not appends:
        return []
    rows = await _inserted(connection, appends, inline or _NO_ROWS)
    held = {row[0]: row for row in rows}
    return [
        Appended(stream_id, version + len(events), row[1], row[2])
        if (row := held.get(stream_id))
        else Conflict(stream_id, version)
        for _, stream_id, version, events, _ in appends
    ]


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


async def read_all(
    connection: Reader, after_position: int, safe_position: int, limit: int
) -> list[RecordedEvent]:
    """Return the next events of the whole log, in the order of their positions.

    Only up to `safe_position` (see `horizon`): below it nothing can appear any more, so the
    last position returned is a checkpoint.
    """
    return _recorded(await connection.fetch(_READ_ALL, after_position, safe_position, limit))


async def _inserted(
    connection: Connection, appends: Sequence[Append], inline: InlineRows
) -> list[asyncpg.Record]:
    """Run the statement that does; return stream, first position and time of what held.

    A refused statement would abort the caller's transaction, so inside of one it is careful
    from the start.
    """
    columns = _columns_of(appends)
    is_one_each = len(columns[0]) == len(appends)
    if (
        not any(append.expected_version for append in appends)
        and not connection.is_in_transaction()
    ):
        sql = append_statement(inline.sql, is_one_each=is_one_each, is_new=True)
        try:
            return await connection.fetch(sql, *columns, *inline.arguments)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != _STREAM_VERSION:
                raise
    sql = append_statement(inline.sql, is_one_each=is_one_each, is_new=False)
    return await connection.fetch(sql, *columns, *inline.arguments)


def _check(appends: Sequence[Append]) -> None:
    if not all(append.events for append in appends):
        msg = "every append needs at least one event"
        raise ValueError(msg)
    if len(appends) > 1 and len({append.stream_id for append in appends}) != len(appends):
        msg = "a stream may occur only once in a call of append"
        raise ValueError(msg)


def _recorded(rows: Iterable[asyncpg.Record]) -> list[RecordedEvent]:
    return [RecordedEvent._make(row) for row in rows]


def _columns_of(appends: Sequence[Append]) -> tuple[tuple[Any, ...], ...]:
    """Turn appends into the sixteen arrays of the statements, one element per event."""
    rows = [
        (stream_id, stream_type, version + nth, nth == 1, *event, *_context_columns(context))
        for stream_type, stream_id, version, events, context in appends
        for nth, event in enumerate(events, 1)
    ]
    return tuple(zip(*rows, strict=True))
