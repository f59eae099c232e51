"""Rebuild and verify the job table of 1,000,000 events while others append and read.

200 jobs a second are submitted, and a reader asks for a page of jobs all the time. The figures:
events a second, digest, comparison and swap included; what the submits and reads met with; and
whether the table is equal in the end. The floor reads the same events through the same kind of
cursor and drops them: what PostgreSQL and the driver alone allow.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.harness import Rate, interleave, percentile, report, rounded, run
from reactorcide.benchmarks.history import fill
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import job_lists
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.paging import Page
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.verify import verify

_EVENTS: Final = int(os.environ.get("BENCH_EVENTS", "1000000"))
_ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "3"))
_APPENDS_A_SECOND: Final = 200
_READ: Final = """
SELECT stream_id, recorded_at, type, schema_version, data::text, position
FROM events WHERE stream_type = 'job' ORDER BY stream_id, version"""


@dataclass(slots=True)
class Others:
    """What those who went on working met with."""

    submits: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    """How long each took, in ms."""
    failed: int = 0


async def _again(work: Callable[[], Awaitable[object]], taken: list[float], others: Others) -> None:
    start = time.perf_counter()
    try:
        await work()
    except Exception:  # noqa: BLE001  whatever it is, it is what is counted
        others.failed += 1
    else:
        taken.append((time.perf_counter() - start) * 1000)


@asynccontextmanager
async def _others(database: Database) -> AsyncIterator[Others]:
    """Submit and read meanwhile."""
    others = Others()
    reading = await database.create_pool()

    async def read() -> None:
        while True:
            await _again(page, others.reads, others)
            await asyncio.sleep(0.01)

    async def page() -> object:
        return await job_lists.list_page(reading, JobFilter(), Page(limit=5))

    async def submit(submitter: Submitter) -> None:
        began, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as submitting:
            while True:
                due = int((time.perf_counter() - began) * _APPENDS_A_SECOND)
                for _ in range(due - number):
                    work = partial(submitter.submit, job_command="true")
                    submitting.create_task(_again(work, others.submits, others))
                number = due
                await asyncio.sleep(1 / _APPENDS_A_SECOND)

    async with Submitter(database.uri, user_id=new_id()) as submitter:
        working = [asyncio.create_task(read()), asyncio.create_task(submit(submitter))]
        try:
            yield others
        finally:
            for one in working:
                one.cancel()
            await asyncio.wait(working)
    await reading.close()


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


async def _meanwhile(database: Database) -> None:
    """Rebuild, then verify, while others work; report what they met with."""
    async with _others(database) as others:
        rebuilt = await rebuild(database, named("jobs"), lambda _done, _total: None)
        _report("rebuild_amid_writers", rebuilt.events / rebuilt.seconds, others, rebuilt.differed)
    async with _others(database) as others:
        verified = await verify(database, named("jobs"), lambda _done, _total: None)
        rate = verified.events / verified.seconds
        _report("verify_amid_writers", rate, others, bool(verified.differences))


def _report(measure: str, rate: float, others: Others, differs: bool) -> None:  # noqa: FBT001  as it is
    done = len(others.reads) + len(others.submits)
    case = {
        "events": _EVENTS,
        "events/s": round(rate),
        "submits": len(others.submits),
        "submit p50": round(percentile(others.submits, 50), 1),
        "submit max": round(max(others.submits), 1),
        "reads": len(others.reads),
        "read p50": round(percentile(others.reads, 50), 1),
        "read max": round(max(others.reads), 1),
        "available %": round(100 * done / (done + others.failed), 3),
        "equal": not differs,
    }
    report(measure, unit="events/s, ms", cases=[case])


async def measure(uri: str) -> None:
    """Fill the log, then rebuild and read in turn; then amid others."""
    await fill(uri, _EVENTS)
    database = Database(uri)
    pair = await interleave(_ours(database), _floor(database), _ROUNDS)
    report("rebuild", unit="events/s", cases=[rounded(pair, events=_EVENTS)])
    await _meanwhile(database)


if __name__ == "__main__":
    run(measure)
