"""What many jobs cost those who look at few: 10,000 jobs in the tables beside 10,000,000.

The same operations at both sizes, in milliseconds, through the code that serves them: a worker's
claim, which is a look into the queue and a guarded append, and the reads of the API. The ratio
says how much slower ten million are; the floor is 1. BENCH_JOBS makes the larger size smaller.

Both sizes are databases of one server, and every operation is done at one and the other in turn:
what disturbs the one disturbs the other. Jobs are chosen by chance. An owner's list is one of ten
owners', whose pages are in memory by then at either size; and one of any owner's, which in ten
million jobs nobody has asked for before: some 150 pages that have to come into memory first.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from reactorcide.benchmarks import many
from reactorcide.benchmarks.harness import percentile, report, run, scratch_database
from reactorcide.eventstore import store
from reactorcide.eventstore.database import PLANNED_ONCE, Database
from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import job_lists, job_suggestions, jobs, queues
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.paging import Page
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.settings import WorkerSettings

SIZES: Final = (10_000, int(os.environ.get("BENCH_JOBS", "10000000")))
_TIMES: Final = 1000
_WARM: Final = 10
"""Calls that do not count: by then a connection has its plans."""
_SLOTS: Final = 10
_CLAIMS: Final = 60
"""Of ten jobs each: fewer than wait in all the queues of the smaller size."""
_LOTS: Final = 5
"""Of claims; before each the smaller size is filled anew."""
_OWNERS: Final = 10
"""Whose lists are asked for again and again; no more than there are calls that do not count."""

Operation: TypeAlias = Callable[[], Awaitable[object]]
Timed: TypeAlias = tuple[float, float]
"""Milliseconds that half, and 99 of 100, do not exceed."""


async def _spans(operations: Sequence[Operation], times: int) -> list[list[float]]:
    """Call each in turn, so many times; return the milliseconds that each took."""
    spans: list[list[float]] = [[] for _ in operations]
    for nth in range(-_WARM, times):
        for operation, taken in zip(operations, spans, strict=True):
            start = time.perf_counter()
            await operation()
            if nth >= 0:
                taken.append((time.perf_counter() - start) * 1000)
    return spans


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


@asynccontextmanager
async def _reads(uri: str, size: int) -> AsyncIterator[dict[str, Operation]]:
    """Lend the reads of the API, and a worker's look; of jobs and owners that chance chooses."""
    dice = random.Random(size)  # noqa: S311  the same in every run
    database, one_queue, page = Database(uri), ["q7"], Page()
    owners = size // many.JOBS_EACH
    few_owners = cycle(range(0, owners, owners // _OWNERS))

    def a_job() -> UUID:
        return many.job_id(dice.randint(1, size))

    def owned(number: int) -> Awaitable[object]:
        return job_lists.list_page(pool, JobFilter(user_id=many.owner_id(number)), page)

    def listed(wanted: JobFilter, part: Page = page) -> Operation:
        return lambda: job_lists.list_page(pool, wanted, part)

    async with (
        await database.create_pool(1, 1, None, **PLANNED_ONCE) as of_a_worker,
        await database.create_pool(1, 1) as pool,
    ):
        yield {
            "look for 10 jobs of one queue": lambda: job_suggestions.claimable(
                of_a_worker, one_queue, "{}", 10
            ),
            "list all": listed(JobFilter()),
            "list all, from the middle": listed(JobFilter(), Page(before=many.job_id(size // 2))),
            "list an owner's": lambda: owned(next(few_owners)),
            "list an owner's, any of all": lambda: owned(dice.randrange(owners)),
            "list queued": listed(JobFilter(status=Status.QUEUED)),
            "list running": listed(JobFilter(status=Status.RUNNING)),
            "list failed": listed(JobFilter(status=Status.FAILED)),
            "list an owner's failed": listed(
                JobFilter(status=Status.FAILED, user_id=many.owner_id(3))
            ),
            "list completed of one queue": listed(
                JobFilter(status=Status.COMPLETED, queue_name="q7")
            ),
            "list what no job is called": listed(JobFilter(q="no such name")),
            "get": lambda: jobs.get(pool, a_job()),
            "events of a job": lambda: store.read_stream(pool, a_job()),
            "count the queues": lambda: queues.list_page(pool, "", 50, 0),
            "count for metrics": lambda: queues.count_largest(pool, 200),
        }


async def _claims(uris: Sequence[str]) -> list[list[float]]:
    """Return how long claims took in each of the databases, the smaller one first."""
    spans: list[list[float]] = [[] for _ in uris]
    for _ in range(_LOTS):
        await many.fill(uris[0], SIZES[0])
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(_worker(Database(uri))) for uri in uris]
            claims = [partial(worker.claim, _SLOTS) for worker in workers]
            for taken, more in zip(spans, await _spans(claims, _CLAIMS), strict=True):
                taken.extend(more)
    return spans


async def _measured(uris: Sequence[str]) -> dict[str, list[list[float]]]:
    """Fill the databases; return the milliseconds of each operation in each of them."""
    for uri, size in zip(uris, SIZES, strict=True):
        await asyncio.shield(many.fill(uri, size))
    async with AsyncExitStack() as stack:
        few, lots = [
            await stack.enter_async_context(_reads(uri, size))
            for uri, size in zip(uris, SIZES, strict=True)
        ]
        found = {name: await _spans((few[name], lots[name]), _TIMES) for name in few}
    return {**found, "claim 10 jobs": await _claims(uris)}


async def measure(uri: str) -> None:
    """Measure at both sizes, and compare."""
    async with scratch_database(uri, "_few") as beside:
        found = await _measured((beside, uri))
    cases = []
    for name, spans in found.items():
        few, lots = [(percentile(taken, 50), percentile(taken, 99)) for taken in spans]
        cases.append(
            {
                "operation": name,
                **_shown(SIZES[0], few),
                **_shown(SIZES[1], lots),
                "ratio p50": round(lots[0] / few[0], 2),
                "ratio p99": round(lots[1] / few[1], 2),
            }
        )
    report("scale", unit="ms", cases=cases)


def _shown(size: int, timed: Timed) -> dict[str, float]:
    p50, p99 = timed
    return {f"p50 of {size:,}": round(p50, 3), f"p99 of {size:,}": round(p99, 3)}


if __name__ == "__main__":
    run(measure)
