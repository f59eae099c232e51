"""The measuring itself: every measure of every system in turn, round after round, until a deadline.

All systems do one measure before any does the next, beginning with another one each round, so
that neighbours in time are the same measure and no system always follows the same one.
"""

import asyncio
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import percentile
from reactorcide.benchmarks.peers.figures import Figure
from reactorcide.benchmarks.peers.launch import Hit, ProgramFailedError, Worker, ask, workers
from reactorcide.benchmarks.peers.server import Databases
from reactorcide.benchmarks.peers.systems import System

ROUNDS: Final = int(os.environ.get("PEERS_ROUNDS", "3"))
SECONDS: Final = float(os.environ.get("PEERS_SECONDS", "2"))
"""How long each submit is measured; a drain is made to last half as long again."""

_DRAIN_LIMIT_SECONDS: Final = 40
_IDLE_LIMIT_SECONDS: Final = 20
_LOOK_SECONDS: Final = 0.03
_WARM_UP_JOBS: Final = 20
_GAP_SECONDS: Final = 0.02
_LATENCY_JOBS: Final = 300
_STEADY_PER_SECOND: Final = 100
_STEADY_SECONDS: Final = 5
_FAILURES_ALLOWED: Final = 1

Found = Mapping[str, float]
"""What one step measured: a value by measure."""


class Rounds:
    """Measures systems on databases; `figures` holds what was measured so far."""

    def __init__(self, on: Databases, systems: Sequence[System], deadline: float) -> None:
        self._on = on
        self._systems = list(systems)
        self._deadline = deadline
        self._failures: Counter[str] = Counter()
        self._rates: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.figures: list[Figure] = []

    async def install(self) -> None:
        """Make every system's tables; leave out those whose program cannot."""
        for system in list(self._systems):
            try:
                await ask(system, "install", await self._on.make(system.name))
            except ProgramFailedError as error:
                self._systems.remove(system)
                say(f"{system.name}: left out: {error}")

    async def run(self, rounds: int) -> None:
        """Measure so many rounds, fewer when the deadline (monotonic) comes first."""
        for turn in range(rounds):
            for step in self._steps():
                for system in self._in_turn(turn):
                    if time.monotonic() > self._deadline:
                        say("the deadline is here: no further figures")
                        return
                    await self._measure(turn, step, system)

    def _steps(self) -> Iterator[Callable[[System], Awaitable[Found]]]:
        yield lambda system: self._submit(system, "submit_c1", "callers", 1)
        yield lambda system: self._submit(system, "submit_c16", "callers", 16)
        yield lambda system: self._submit(system, "submit_bulk", "batches", 1)
        yield lambda system: self._drain(system, 1)
        yield lambda system: self._drain(system, 2)
        yield self._latency

    def _in_turn(self, turn: int) -> list[System]:
        first = turn % max(1, len(self._systems))
        return self._systems[first:] + self._systems[:first]

    async def _measure(
        self, turn: int, step: Callable[[System], Awaitable[Found]], system: System
    ) -> None:
        """Take one step of one system; a system that fails too often is left out from there on."""
        try:
            found = await step(system)
        except (ProgramFailedError, asyncpg.PostgresError, OSError) as error:
            self._failures[system.name] += 1
            say(f"{system.name}: failed: {error}")
            if self._failures[system.name] > _FAILURES_ALLOWED:
                self._systems.remove(system)
                say(f"{system.name}: left out from here on")
            return
        for measure, value in found.items():
            self.figures.append(Figure(turn, measure, system.name, value))
            self._rates[measure, system.name].append(value)
            say(f"round {turn + 1}  {measure:18} {system.name:14} {value:>12,.2f}")

    async def _submit(self, system: System, measure: str, kind: str, callers: int) -> Found:
        uri = await self._on.fresh(system.name)
        await self._on.settle(uri)
        answer = await ask(system, kind, uri, callers=callers, seconds=SECONDS)
        return {measure: answer.jobs / answer.seconds}

    async def _drain(self, system: System, count: int) -> Found:
        """Submit jobs, then time from the first handler until the database says none is open."""
        measure = f"drain_{count}"
        uri = await self._on.fresh(system.name)
        jobs = self._drain_jobs(system, measure)
        submitted = (await ask(system, "batches", uri, jobs=jobs)).jobs
        await self._on.settle(uri)
        async with workers(system, uri, count) as started:
            for worker in started:
                await worker.go()
            emptied = await _emptied(system, uri, started, _DRAIN_LIMIT_SECONDS)
            hits = [hit for worker in started for hit in await worker.stop()]
        if emptied is not None:
            check_all_ran(submitted, hits)
        return {measure: drained_rate(submitted, hits, emptied)}

    def _drain_jobs(self, system: System, measure: str) -> int:
        """Return how many jobs fill a drain's time at the rate of the rounds before."""
        known = self._rates[measure, system.name]
        wanted = known[-1] * SECONDS * 1.5 if known else system.drain_jobs * SECONDS / 2
        return max(500, int(wanted))

    async def _latency(self, system: System) -> Found:
        uri = await self._on.fresh(system.name)
        await self._on.settle(uri)
        gaps = {"gap_seconds": _GAP_SECONDS}
        async with workers(system, uri, 1) as (worker,):
            await worker.go()
            await ask(system, "gaps", uri, jobs=_WARM_UP_JOBS, is_stamped=False, **gaps)
            await _idle(system, uri, worker)
            await ask(system, "gaps", uri, jobs=_LATENCY_JOBS, **gaps)
            await _idle(system, uri, worker)
            between = time.monotonic_ns()
            await ask(system, "steady", uri, per_second=_STEADY_PER_SECOND, seconds=_STEADY_SECONDS)
            await _idle(system, uri, worker)
            hits = [hit for hit in await worker.stop() if hit.sent]
        check_all_ran(_LATENCY_JOBS + _STEADY_PER_SECOND * _STEADY_SECONDS, hits)
        alone = [hit for hit in hits if hit.sent < between]
        steady = [hit for hit in hits if hit.sent >= between]
        return {**latencies("latency", alone), **latencies("latency100", steady)}


def check_all_ran(jobs: int, hits: Sequence[Hit]) -> None:
    """Raise ProgramFailedError when jobs ended that no handler saw."""
    if len(hits) < jobs:
        msg = f"{len(hits)} handlers began for {jobs} jobs"
        raise ProgramFailedError(msg)


def drained_rate(jobs: int, hits: Sequence[Hit], emptied: int | None) -> float:
    """Return jobs a second from the first handler's start until the queue was seen empty.

    Where it was not emptied in time, count the handlers that began instead.
    """
    began = sorted(hit.began for hit in hits)
    if not began:
        raise ProgramFailedError("no handler began")
    if emptied is None:
        return (len(began) - 1) / max(1, began[-1] - began[0]) * 1e9
    return jobs / (emptied - began[0]) * 1e9


def latencies(prefix: str, hits: Sequence[Hit]) -> Found:
    """Return the median and the 99th percentile in ms, from the submit to the handler."""
    if not hits:
        raise ProgramFailedError("no handler began")
    taken = [(hit.began - hit.sent) / 1e6 for hit in hits]
    return {f"{prefix}_p{percent}_ms": percentile(taken, percent) for percent in (50, 99)}


async def _idle(system: System, uri: str, worker: Worker) -> None:
    if await _emptied(system, uri, [worker], _IDLE_LIMIT_SECONDS) is None:
        raise ProgramFailedError("its worker left jobs lying")


async def _emptied(
    system: System, uri: str, started: Sequence[Worker], limit_seconds: float
) -> int | None:
    """Return when (monotonic ns) no job was seen open any more; None: not within the limit."""
    deadline = time.monotonic() + limit_seconds
    connection = await asyncpg.connect(uri)
    try:
        look = await connection.prepare(system.is_open)
        while time.monotonic() < deadline:
            if not await look.fetchval():
                return time.monotonic_ns()
            for worker in started:
                worker.check()
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()
    return None


def say(text: str) -> None:
    """Tell a person how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
