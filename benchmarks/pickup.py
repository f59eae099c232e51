"""Pick-up: milliseconds from a submit to a worker's claim of it, on an otherwise idle system.

Ours: real processes; jobs arrive one at a time over HTTP, and the database's clock says when
the transactions of `job.submitted` and `job.claimed` began, so the figure holds the submit's commit
too. The floor is one INSERT with NOTIFY and one waiting listener that marks the row.
"""

import asyncio
import json
import statistics
import time
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import percentile, report, run
from reactorcide.benchmarks.http_load import Client, post
from reactorcide.benchmarks.servers import api, child, command, until

_JOBS: Final = 200
_GAP_SECONDS: Final = 0.02
_JOB: Final = json.dumps({"name": "noop", "job_command": "true"}).encode()

_LATENCIES: Final = """
SELECT extract(epoch FROM c.recorded_at - q.recorded_at)::float8 * 1000
FROM events AS q JOIN events AS c USING (stream_id)
WHERE q.type = 'job.submitted' AND c.type = 'job.claimed' ORDER BY q.position OFFSET $1"""
_RUNNING: Final = "SELECT count(*) FROM workers WHERE status = 'active'"
_OPEN: Final = (
    "SELECT count(*) FROM jobs WHERE status IN ('submitted','queued','claimed','running')"
)
_WARM_UP: Final = 20


async def _ours(uri: str) -> list[float]:
    connection = await asyncpg.connect(uri)
    async with api(uri) as (port, env), child(command("worker", "--concurrency", "4"), env):
        await until(connection, _RUNNING, 1)
        request = post("/api/v1/jobs", _JOB, env["REACTORCIDE_API_TOKEN"])
        async with Client(port) as client:
            for _ in range(_WARM_UP + _JOBS):
                await client.exchange(request)
                await asyncio.sleep(_GAP_SECONDS)
        await until(connection, _OPEN, 0)
    rows = await connection.fetch(_LATENCIES, _WARM_UP)
    await connection.close()
    return [row[0] for row in rows]


async def _floor(uri: str) -> list[float]:
    writer, worker = await asyncpg.connect(uri), await asyncpg.connect(uri)
    await writer.execute("CREATE TABLE bare (id int PRIMARY KEY, done timestamptz)")
    rung, marked = asyncio.Event(), asyncio.Event()
    await worker.add_listener("bare", lambda *_: rung.set())

    async def work() -> None:
        while True:
            await rung.wait()
            rung.clear()
            await worker.execute("UPDATE bare SET done = now() WHERE done IS NULL")
            marked.set()

    working = asyncio.create_task(work())
    found: list[float] = []
    for number in range(_WARM_UP + _JOBS):
        start = time.perf_counter()
        await writer.execute(
            "WITH i AS (INSERT INTO bare VALUES ($1)) SELECT pg_notify('bare', '')", number
        )
        await marked.wait()
        marked.clear()
        found.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(_GAP_SECONDS)
    working.cancel()
    await writer.close()
    await worker.close()
    return found[_WARM_UP:]


async def measure(uri: str) -> None:
    """Measure both, one after the other."""
    ours, floor = await _ours(uri), await _floor(uri)
    cases = [
        {
            "percentile": percent,
            "ours": round(percentile(ours, percent), 2),
            "floor": round(percentile(floor, percent), 2),
            "ratio": round(percentile(ours, percent) / percentile(floor, percent), 2),
        }
        for percent in (50, 95, 99)
    ]
    mean = {"ours": round(statistics.fmean(ours), 2), "floor": round(statistics.fmean(floor), 2)}
    report("pickup", unit="ms", jobs=len(ours), mean=mean, cases=cases)


if __name__ == "__main__":
    run(measure)
