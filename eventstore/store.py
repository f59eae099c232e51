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

A projection's rows may go in the same statement (`InlineRows`), and are then there exactly
when the events are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
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


# The version check is a scalar subquery, not a join: whatever the planner believes about the
# size of the table, it can only be answered by one look into the unique index per stream.
_APPEND: Final = """
WITH incoming AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::int[], $4::bool[], $5::uuid[], $6::text[], $7::smallint[],
        $8::jsonb[], $9::text[], $10::uuid[], $11::uuid[], $12::text[], $13::text[],
        $14::text[], $15::uuid[], $16::uuid[]
    ) AS i (
        stream_id, stream_type, version, is_first, event_id, type, schema_version,
        data, actor_type, actor_id, token_id, ip, user_agent,
        request_id, correlation_id, causation_id
    )
),
first AS (
    INSERT INTO events (
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip, user_agent, request_id, correlation_id, causation_id
    )
    SELECT
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip::inet, user_agent, request_id, correlation_id, causation_id
    FROM incoming AS i
    WHERE is_first AND (i.version = 1 OR (
        SELECT 1 FROM events AS e WHERE e.stream_id = i.stream_id AND e.version = i.version - 1
    ) IS NOT NULL)
    ORDER BY stream_id
    ON CONFLICT (stream_id, version) DO NOTHING
    RETURNING stream_id, position, recorded_at
),
rest AS (
    INSERT INTO events (
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip, user_agent, request_id, correlation_id, causation_id
    )
    SELECT
        stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
        actor_id, token_id, ip::inet, user_agent, request_id, correlation_id, causation_id
    FROM incoming
    WHERE NOT is_first AND stream_id = ANY (ARRAY(SELECT stream_id FROM first))
    ORDER BY stream_id, version
)"""

_APPEND_RESULT: Final = """
SELECT stream_id, position, recorded_at FROM first"""

_COLUMNS: Final = """
    position, event_id, stream_type, stream_id, version, type, schema_version, data::text,
    actor_type, actor_id, token_id, host(ip) AS ip, user_agent, request_id, correlation_id,
    causation_id, recorded_at"""

_READ_STREAM: Final = (
    "SELECT"
    + _COLUMNS
    + """
FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3"""
)

_READ_STREAMS: Final = (
    "SELECT"
    + _COLUMNS
    + """
FROM events WHERE stream_id = ANY ($1::uuid[]) ORDER BY stream_id, version"""
)

_READ_ALL: Final = (
    "SELECT"
    + _COLUMNS
    + """
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"""
)


@cache
def append_statement(inline_sql: str) -> str:
    """Return the whole append statement around a projection's constant fragment."""
    return _APPEND + inline_sql + _APPEND_RESULT


async def append(
    connection: Connection, appends: Sequence[Append], inline: InlineRows | None = None
) -> list[AppendResult]:
    """Append to many streams in one round trip; the results are in the order of `appends`.

    Each append is all or none; a conflict in one does not touch the others. Outside of a
    transaction the call is one commit; inside of one it joins it. A stream may occur once
    (ValueError otherwise).
    """
    if len({append.stream_id for append in appends}) != len(appends):
        msg = "a stream may occur only once in a call of append"
        raise ValueError(msg)
    sql = append_statement(inline.sql if inline else "")
    extra = inline.arguments if inline else ()
    rows = await connection.fetch(sql, *_columns_of(appends), *extra)
    taken = {row[0]: row for row in rows}
    return [_result_of(append, taken.get(append.stream_id)) for append in appends]


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


def _recorded(rows: Iterable[asyncpg.Record]) -> list[RecordedEvent]:
    return [RecordedEvent._make(row) for row in rows]


def _result_of(append: Append, row: asyncpg.Record | None) -> AppendResult:
    if row is None:
        return Conflict(append.stream_id, append.expected_version)
    version = append.expected_version + len(append.events)
    return Appended(append.stream_id, version, row[1], row[2])


def _columns_of(appends: Sequence[Append]) -> tuple[list[Any], ...]:
    """Turn appends into the sixteen arrays of the append statement, one element per event."""
    rows = [
        (
            append.stream_id,
            append.stream_type,
            append.expected_version + nth,
            nth == 1,
            *event,
            append.context.actor_type,
            append.context.actor_id,
            append.context.token_id,
            append.context.ip,
            append.context.user_agent,
            append.context.request_id,
            append.context.correlation_id,
            append.context.causation_id,
        )
        for append in appends
        for nth, event in enumerate(append.events, 1)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
