"""What becomes of a worker's rate and of the wait for it when the database is under pressure.

One worker process with a handler that does nothing, and jobs submitted by the clock. First what
worker and submits hold together, with jobs always waiting (`drain`). Then, each in a database
of its own and BENCH_PRESSURE_SECONDS long: 60 % of that and nothing else (`clean`); 1.5 times the
clean run's load (`half_more`); 1.5 times what they hold, so that the queue grows all the time
(`overload`); 60 % with a transaction that is open all the time, so that no dead row may go; and
60 % with four readers of one snapshot after the other that scan the tables every job passes
through.

A case holds when its last third has 0.7 of the rate of its first third and of the clean
run's last. After a pressure 60 % go on: recovered is from when on, three seconds in a row,
nine tenths of these come through and 99 of 100 wait no longer than twice as long as in the clean
run; none: not within twice the time of the pressure. After an overload that is when the queue is
empty: what half of the time brought in goes with the 40 % that are left, at 1.25 times the time.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.harness import report, run, with_database
from reactorcide.benchmarks.servers import child, environment
from reactorcide.benchmarks.steady import NS, Hits, Load, Span, worker_words
from reactorcide.eventstore.ids import new_id
from reactorcide.migrations.runner import migrate_up

_SECONDS: Final = float(os.environ.get("BENCH_PRESSURE_SECONDS", "600"))
_SHARE: Final = 0.6
_DRAIN_SECONDS: Final = min(_SECONDS, 10.0)
_WARM_SECONDS: Final = min(_SECONDS / 10, 5.0)
_WAITING: Final = 3_000
_START_SECONDS: Final = 30.0
_HOLDS: Final = 0.7
_BACK_RATE: Final = 0.9
_BACK_WAIT: Final = 2.0
_BACK_SECONDS: Final = 3

_READERS: Final = 4
_SCANS: Final = (
    "SELECT count(*), max(updated_at) FROM jobs_ready",
    "SELECT count(*), max(lease_until) FROM jobs_held",
    "SELECT count(data) FROM (SELECT data FROM events ORDER BY position DESC LIMIT 10000) AS e",
)
_DEAD: Final = """
SELECT relname, n_dead_tup FROM pg_stat_user_tables
WHERE relname IN ('jobs_ready', 'jobs_held', 'queue_changes')"""


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    factor: float
    """Of the rate that the clean run has."""
    pressure: Callable[[str], AbstractAsyncContextManager[None]]


class _Seen(NamedTuple):
    """What a case came to: rates a second, waits in ms."""

    offered: float
    first: float
    last: float
    p99: float
    p99_last: float
    dead: dict[str, int]
    recovered: float | None


class _Run(NamedTuple):
    """A worker that runs, what it sees, and the load on it."""

    uri: str
    hits: Hits
    load: Load


@asynccontextmanager
async def _idle_transaction(uri: str) -> AsyncIterator[None]:
    """Hold on to what can be seen now: nothing that dies may be cleared away."""
    connection = await asyncpg.connect(uri)
    await connection.execute("BEGIN; SELECT txid_current()")
    try:
        yield
    finally:
        await connection.close()


@asynccontextmanager
async def _readers(uri: str) -> AsyncIterator[None]:
    """Scan the tables that every job passes through, again and again, each time as of one time."""
    reading = [asyncio.create_task(_read(uri)) for _ in range(_READERS)]
    try:
        yield
    finally:
        for task in reading:
            task.cancel()
        for ended in await asyncio.gather(*reading, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _read(uri: str) -> None:
    connection = await asyncpg.connect(uri)
    try:
        while True:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for scan in _SCANS:
                    await connection.fetch(scan)
    finally:
        connection.terminate()


@asynccontextmanager
async def _running(base: str, name: str) -> AsyncIterator[_Run]:
    """Run a worker on a database of its own, until all it was given has begun or much later."""
    admin = await asyncpg.connect(base)
    database = f"pressure_{os.getpid()}_{name}"
    await admin.execute(f'CREATE DATABASE "{database}"')
    uri = with_database(base, database)
    try:
        await asyncio.to_thread(migrate_up, uri)
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rc-bench-")))
            hits = Hits(directory / "hits")
            env = environment(uri, str(directory), PRESSURE_HITS=str(directory / "hits"))
            env["REACTORCIDE_LOG_LEVEL"] = "warning"
            load = Load(await stack.enter_async_context(Submitter(uri, new_id())))
            await stack.enter_async_context(child(worker_words(), env))
            await load.steadily(50, 1)
            await load.drained(hits, _START_SECONDS)
            yield _Run(uri, hits, load)
    finally:
        await admin.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        await admin.close()


async def _drain(base: str) -> float:
    """Return what worker and submits hold together while jobs always wait."""
    async with _running(base, "drain") as running:
        await running.load.hold(running.hits, _WAITING, _WARM_SECONDS)
        begin = time.monotonic_ns()
        await running.load.hold(running.hits, _WAITING, _DRAIN_SECONDS)
        span = Span(begin, time.monotonic_ns())
        await running.load.drained(running.hits, _START_SECONDS)
        return running.hits.rate(span)


async def _seen(base: str, case: _Case, rate: float, clean: _Seen | None) -> _Seen:
    """Run a case; `rate` is that of the clean run, which has none to be compared with."""
    async with _running(base, case.name) as running:
        _, hits, load = running
        await load.steadily(rate, _WARM_SECONDS)
        async with case.pressure(running.uri):
            begin = time.monotonic_ns()
            offered = await load.steadily(rate * case.factor, _SECONDS)
            span = Span(begin, time.monotonic_ns())
            dead = await _dead(running.uri)
        recovered = await _recovery(running, rate, clean, span.end) if clean else 0.0
        hits.read()
        first, last = span.third(0), span.third(2)
        p99, p99_last = hits.p99_ms(span), hits.p99_ms(last)
        return _Seen(offered, hits.rate(first), hits.rate(last), p99, p99_last, dead, recovered)


async def _dead(uri: str) -> dict[str, int]:
    connection = await asyncpg.connect(uri)
    found = {row["relname"]: row["n_dead_tup"] for row in await connection.fetch(_DEAD)}
    await connection.close()
    return found


async def _recovery(running: _Run, rate: float, clean: _Seen, ended: int) -> float | None:
    """Return after how many seconds of the clean run's load all is as in the clean run."""
    loading = asyncio.create_task(running.load.steadily(rate, 2 * _SECONDS))
    good = second = 0
    while good < _BACK_SECONDS and not loading.done():
        second += 1
        end = ended + second * NS
        # What was seen by then is in the file a moment later.
        await asyncio.sleep((end - time.monotonic_ns()) / NS + 0.5)
        running.hits.read()
        span = Span(end - NS, end)
        is_good = running.hits.rate(span) >= _BACK_RATE * rate
        is_good &= running.hits.p99_ms(span) <= _BACK_WAIT * clean.p99
        good = good + 1 if is_good else 0
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading
    return float(second - good) if good == _BACK_SECONDS else None


_CLEAN: Final = _Case("clean", 1.0, lambda _: nullcontext())
_CASES: Final = (
    _Case("half_more", 1.5, lambda _: nullcontext()),
    _Case("overload", 1.5 / _SHARE, lambda _: nullcontext()),
    _Case("idle_transaction", 1.0, _idle_transaction),
    _Case("readers", 1.0, _readers),
)


async def measure(uri: str) -> None:
    """Measure what holds, the clean run, and each pressure."""
    drain = await _drain(uri)
    rate = drain * _SHARE
    clean = await _seen(uri, _CLEAN, rate, None)
    seen = {_CLEAN: clean} | {case: await _seen(uri, case, rate, clean) for case in _CASES}
    cases = [_shown(case, found, clean) for case, found in seen.items()]
    holds = all(case["holds"] for case in cases)
    report(
        "pressure", unit="jobs/s, ms, s", seconds=_SECONDS, drain=round(drain), holds=holds,
        cases=cases,
    )  # fmt: skip


def _shown(case: _Case, seen: _Seen, clean: _Seen) -> dict[str, Any]:
    of_first, of_clean = seen.last / seen.first, seen.last / clean.last
    return {
        "case": case.name,
        "offered": round(seen.offered),
        "first third": round(seen.first),
        "last third": round(seen.last),
        "of first": round(of_first, 2),
        "of clean": round(of_clean, 2),
        "p99": round(seen.p99, 1),
        "p99 last third": round(seen.p99_last, 1),
        **{f"dead {table}": dead for table, dead in sorted(seen.dead.items())},
        "recovered": seen.recovered,
        "holds": min(of_first, of_clean) >= _HOLDS,
    }


if __name__ == "__main__":
    run(measure)
