"""Append: events per second by writers and events per call, against bare rows.

The floor inserts the same rows with the same columns by one multi-array INSERT per call: no
version check, no conflict, no position order. Each writer has a connection of its own; ours
is `store.append` on that connection, and, for one event a call, also the path that processes
use: the `Appender`, which writes together what arrives together.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import SECONDS, Rate, interleave, report, rounded, run
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.domain.events import JobStarted
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import SYSTEM, Append
from reactorcide.eventstore.store import append

_FLOOR: Final = """
INSERT INTO events (
    stream_id, stream_type, version, event_id, type, schema_version, data, actor_type,
    actor_id, token_id, ip, user_agent, request_id, correlation_id, causation_id
)
SELECT i.a, i.b, i.c, i.d, i.e, i.f, i.g, i.h, i.i, i.j, i.k::inet, i.l, i.m, i.n, i.o
FROM unnest(
    $1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::text[], $6::smallint[], $7::jsonb[],
    $8::text[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::text[], $14::uuid[],
    $15::uuid[]
) AS i (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)"""

Write = Callable[[Connection, int], Awaitable[None]]


def _new_append() -> Append:
    event = encode(new_id(), JobStarted(attempt=1))
    return Append("job", new_id(), 0, (event,), SYSTEM)


async def _ours(connection: Connection, events: int) -> None:
    await append(connection, [_new_append() for _ in range(events)])


async def _floor(connection: Connection, events: int) -> None:
    fresh = [_new_append() for _ in range(events)]
    nothing = [None] * events
    await connection.fetch(
        _FLOOR,
        [a.stream_id for a in fresh],
        ["job"] * events,
        [1] * events,
        [a.events[0].event_id for a in fresh],
        [a.events[0].type for a in fresh],
        [1] * events,
        [a.events[0].data for a in fresh],
        ["system"] * events,
        *[nothing] * 7,
    )


def _rate(write: Write, connections: Sequence[Connection], events: int) -> Rate:
    async def writer(connection: Connection, until: float) -> int:
        written = 0
        while time.perf_counter() < until:
            await write(connection, events)
            written += events
        return written

    async def measure() -> float:
        start = time.perf_counter()
        counts = await asyncio.gather(*[writer(c, start + SECONDS) for c in connections])
        return sum(counts) / (time.perf_counter() - start)

    return measure


def _no_rows(_changes: Sequence[Change[None]]) -> InlineRows:
    return InlineRows("", ())


def _together(appender: Appender[None], connections: Sequence[Connection]) -> Rate:
    async def write(_connection: Connection, _events: int) -> None:
        unit = _new_append()
        await appender.append([(unit, Change(unit.stream_id, 1, None, ()))])

    return _rate(write, connections, 1)


async def measure(uri: str) -> None:
    """Measure every combination of 1, 16, 64 writers and 1, 10, 100 events a call."""
    database = Database(uri)
    connections: list[asyncpg.Connection[asyncpg.Record]] = [
        await database.connect_writer() for _ in range(64)
    ]
    cases = []
    for writers in (1, 16, 64):
        for events in (1, 10, 100):
            pair = await interleave(
                _rate(_ours, connections[:writers], events),
                _rate(_floor, connections[:writers], events),
            )
            cases.append(rounded(pair, path="store", writers=writers, events_per_call=events))
        async with Appender(database, _no_rows) as appender:
            pair = await interleave(
                _together(appender, connections[:writers]),
                _rate(_floor, connections[:writers], 1),
            )
        cases.append(rounded(pair, path="appender", writers=writers, events_per_call=1))
    report("append", unit="events/s", cases=cases)
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    run(measure)
