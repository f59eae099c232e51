"""Rebuild of the job table from 1,000,000 events: events per second, digest and swap included.

The floor reads the same events through the same kind of cursor and drops them: what PostgreSQL
and the driver alone allow.
"""

import os
import time
from typing import Final

from reactorcide.benchmarks.harness import Rate, interleave, report, rounded, run
from reactorcide.benchmarks.history import fill
from reactorcide.eventstore.database import Database
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild

_EVENTS: Final = int(os.environ.get("BENCH_EVENTS", "1000000"))
_ROUNDS: Final = 3
_READ: Final = """
SELECT stream_id, recorded_at, type, schema_version, data::text, position
FROM events WHERE stream_type = 'job' ORDER BY stream_id, version"""


def _ours(database: Database) -> Rate:
    async def one_round() -> float:
        start = time.perf_counter()
        rebuilt = await rebuild(database, named("jobs"), lambda _done, _total: None)
        return rebuilt.events / (time.perf_counter() - start)

    return one_round


def _floor(database: Database) -> Rate:
    async def one_round() -> float:
        connection = await database.connect(role=False, jit="off")
        start = time.perf_counter()
        read = 0
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor(_READ)
            while found := await cursor.fetch(4000):
                read += len(found)
        rate = read / (time.perf_counter() - start)
        await connection.close()
        return rate

    return one_round


async def measure(uri: str) -> None:
    """Fill the log, then rebuild and read in turn."""
    await fill(uri, _EVENTS)
    database = Database(uri)
    pair = await interleave(_ours(database), _floor(database), _ROUNDS)
    report("rebuild", unit="events/s", cases=[rounded(pair, events=_EVENTS)])


if __name__ == "__main__":
    run(measure)
