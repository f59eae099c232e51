"""What many jobs cost those who look at few: 10,000 jobs in the tables, then 10,000,000.

The same operations at both sizes, in milliseconds, through the code that serves them: a worker's
claim, which is a look into the queue and a guarded append, and the reads of the API. The ratio
says how much slower ten million are; the floor is 1. BENCH_JOBS makes the larger size smaller.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from reactorcide.benchmarks import many
from reactorcide.benchmarks.harness import percentile, report, run
from reactorcide.eventstore import store
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import job_lists, job_suggestions, jobs, queues
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.paging import Page
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.settings import WorkerSettings

SIZES: Final = (10_000, int(os.environ.get("BENCH_JOBS", "10000000")))
_TIMES: Final = 300
_SLOTS: Final = 10
_CLAIMS: Final = 60
"""Of ten jobs each: fewer than wait in all the queues of the smaller size."""

Operation: TypeAlias = Callable[[], Awaitable[object]]
Timed: TypeAlias = tuple[float, float]
"""Milliseconds that half, and 99 of 100, do not exceed."""


async def _timed(operation: Operation, times: int = _TIMES) -> Timed:
    for _ in range(10):
        await operation()
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        await operation()
        spans.append((time.perf_counter() - start) * 1000)
    return percentile(spans, 50), percentile(spans, 99)


@asynccontextmanager
async def _worker(database: Database) -> AsyncIterator[DirectCoordinator]:
    """Lend a worker's coordinator on all queues, whose leases outlive the measurement."""
    queue_names = tuple(f"q{nth}" for nth in range(many.QUEUES))
    settings = WorkerSettings("bench", Path("/nonexistent"), queue_names, lease_seconds=86_400)
    async with open_coordinator(settings, database, None) as coordinator:
        registered = WorkerRegistered(
            name="bench", hostname="here", pid=1, queues=queue_names, concurrency=_SLOTS,
            runner="none", code_version="0",
        )  # fmt: skip
        await coordinator.register(registered)
        yield coordinator


def _reads(pool: Pool, size: int) -> dict[str, Operation]:
    """Return the reads of the API, of jobs and owners that chance chooses."""
    dice = random.Random(size)  # noqa: S311  the same in every run
    one_queue, page = ["q7"], Page()

    def a_job() -> Any:  # noqa: ANN401  a UUID
        return many.job_id(dice.randint(1, size))

    def look() -> Awaitable[object]:
        return job_suggestions.claimable(pool, one_queue, "{}", 10)

    def listed(wanted: JobFilter, part: Page = page) -> Operation:
        return lambda: job_lists.list_page(pool, wanted, part)

    return {
        "look for 10 jobs of one queue": lambda: job_suggestions.claimable(
            pool, one_queue, "{}", 10
        ),
        "list all": listed(JobFilter()),
        "list all, from the middle": listed(JobFilter(), Page(before=many.job_id(size // 2))),
        "list an owner's": lambda: job_lists.list_page(
            pool, JobFilter(user_id=many.owner_id(dice.randrange(size // many.JOBS_EACH))), page
        ),
        "list queued": listed(JobFilter(status=Status.QUEUED)),
        "list running": listed(JobFilter(status=Status.RUNNING)),
        "list failed": listed(JobFilter(status=Status.FAILED)),
        "list an owner's failed": listed(JobFilter(status=Status.FAILED, user_id=many.owner_id(3))),
        "list completed of one queue": listed(JobFilter(status=Status.COMPLETED, queue_name="q7")),
        "list what no job is called": listed(JobFilter(q="no such name")),
        "get": lambda: jobs.get(pool, a_job()),
        "events of a job": lambda: store.read_stream(pool, a_job()),
        "count the queues": lambda: queues.list_page(pool, "", 50, 0),
        "count for metrics": lambda: queues.count_largest(pool, 200),
    }


async def _at(uri: str, size: int) -> dict[str, Timed]:
    """Measure everything with so many jobs."""
    await many.fill(uri, size)
    database = Database(uri)
    pool = await database.create_pool(1, 1)
    found = {name: await _timed(read) for name, read in _reads(pool, size).items()}
    async with _worker(database) as worker:
        found["claim 10 jobs"] = await _timed(lambda: worker.claim(_SLOTS), _CLAIMS)
    await pool.close()
    return found


async def measure(uri: str) -> None:
    """Measure at both sizes, and compare."""
    few, lots = [await asyncio.shield(_at(uri, size)) for size in SIZES]
    cases = [
        {
            "operation": name,
            **_shown(SIZES[0], few[name]),
            **_shown(SIZES[1], lots[name]),
            "ratio p50": round(lots[name][0] / few[name][0], 2),
            "ratio p99": round(lots[name][1] / few[name][1], 2),
        }
        for name in few
    ]
    report("scale", unit="ms", cases=cases)


def _shown(size: int, timed: Timed) -> dict[str, float]:
    p50, p99 = timed
    return {f"p50 of {size:,}": round(p50, 3), f"p99 of {size:,}": round(p99, 3)}


if __name__ == "__main__":
    run(measure)
