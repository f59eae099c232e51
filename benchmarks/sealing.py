"""Sealing: what the sealer costs those who append, and how fast it is.

Rounds with and without a sealer alternate in one run: many append single events by the path that
processes use, while a process of its own seals, as `projections run` does. Each round first runs
untimed for longer than the sealer's interval, so that it is under way as it always is; what a
round left is sealed before the next one. Then the sealer alone, on a log that it has not seen.
"""

import asyncio
import os
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from reactorcide.benchmarks.append import _new_append, _no_rows
from reactorcide.benchmarks.harness import percentile, report, run
from reactorcide.benchmarks.history import fill
from reactorcide.benchmarks.servers import child
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import Change
from reactorcide.projections import checkpoints, sealer
from reactorcide.projections.runner import Runner
from reactorcide.projections.sealer import LogSealer

_ROUNDS: Final = 5
_CALLERS: Final = 16
_WARM_SECONDS: Final = 2.5
_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.1
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_HISTORY: Final = 100_000
_KEY: Final = bytes(32)


async def _append(appender: Appender[None], seconds: float) -> float:
    """Append single events from many callers; return events per second."""
    began = time.perf_counter()

    async def caller() -> int:
        written = 0
        while time.perf_counter() - began < seconds:
            unit = _new_append()
            await appender.append([(unit, Change(unit.stream_id, 1, None, ()))])
            written += 1
        return written

    written = sum(await asyncio.gather(*[caller() for _ in range(_CALLERS)]))
    return written / (time.perf_counter() - began)


# The server's processes that work for this database: whether each is the sealer's.
_BACKENDS: Final = """
SELECT a.pid, EXISTS (
    SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted
        AND l.classid = 1380008020
)
FROM pg_stat_activity AS a WHERE a.datname = current_database()"""


async def _processor_seconds(connection: Connection, sealer_pid: int | None) -> dict[str, float]:
    """Return what this process, the sealer's and their sessions have used up until now."""
    used = {"append": time.process_time(), "seal": _used_by(sealer_pid) if sealer_pid else 0.0}
    for pid, is_sealers in await connection.fetch(_BACKENDS):
        used["seal" if is_sealers else "append"] += _used_by(pid)
    return used


def _used_by(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _watch(connection: Connection, lags: list[float]) -> None:
    """Note how far behind the sealer is, in seconds, until cancelled."""
    while True:
        (standing,) = await checkpoints.standings(connection, [sealer.NAME])
        lags.append(standing.lag_seconds)
        await asyncio.sleep(_LOOK_SECONDS)


async def _seal_the_rest(connection: Connection) -> None:
    while True:
        (standing,) = await checkpoints.standings(connection, [sealer.NAME])
        if not standing.lag_events:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _rounds(uri: str) -> dict[str, object]:
    database = Database(uri)
    rates: dict[bool, list[float]] = {True: [], False: []}
    lags: list[float] = []
    unused: list[float] = []
    used = {"append": 0.0, "seal": 0.0}
    words = [sys.executable, "-m", "reactorcide.benchmarks.sealing", uri]
    async with AsyncExitStack() as stack:
        connection = await database.connect()
        stack.push_async_callback(connection.close)
        appender = await stack.enter_async_context(Appender(database, _no_rows))
        for is_sealed in (False, True) * _ROUNDS:
            async with AsyncExitStack() as of_round:
                pid = None
                if is_sealed:
                    running = await of_round.enter_async_context(child(words, {}))
                    pid = running.pid
                    await _seal_the_rest(connection)
                await _append(appender, _WARM_SECONDS)
                before = await _processor_seconds(connection, pid)
                watching = asyncio.create_task(_watch(connection, lags if is_sealed else unused))
                rates[is_sealed].append(await _append(appender, _SECONDS))
                watching.cancel()
                await asyncio.wait([watching])
                if is_sealed:
                    after = await _processor_seconds(connection, pid)
                    used = {who: used[who] + after[who] - before[who] for who in used}
                    await _seal_the_rest(connection)
    sealed, bare = (statistics.median(rates[kind]) for kind in (True, False))
    return {
        "with_sealer": round(sealed),
        "without": round(bare),
        "ratio": round(sealed / bare, 3),
        "processor_share": round(used["seal"] / used["append"], 3),
        "lag_seconds_p50": round(percentile(lags, 50), 2),
        "lag_seconds_max": round(max(lags), 2),
    }


async def _alone(uri: str) -> float:
    """Return the events per second that the sealer does by itself."""
    await fill(uri, _HISTORY)
    async with checkpoints.session(Database(uri)) as session:
        await checkpoints.take(session, sealer.NAME)
        one = LogSealer(_KEY, lambda _size, _note: None)
        after = await checkpoints.position(session, sealer.NAME)
        began = time.perf_counter()
        while (await one.advance(session)).is_behind:
            pass
        took = time.perf_counter() - began
        return (await checkpoints.position(session, sealer.NAME) - after) / took


async def measure(uri: str) -> None:
    """Measure the cost, then the speed."""
    cost = await _rounds(uri)
    report("sealing", unit="events/s", **cost, alone=round(await _alone(uri)))


async def _seal(uri: str) -> None:
    """Seal until killed."""
    database = Database(uri)
    async with Doorbell(database, ["events"]) as doorbell:
        await Runner(database, doorbell, LogSealer(_KEY, lambda _size, _note: None)).run()


if __name__ == "__main__":
    if sys.argv[1:]:
        uvloop.run(_seal(sys.argv[1]))
    else:
        run(measure)
