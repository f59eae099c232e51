"""Chaos: real commands on real workers, all of which are killed, stopped and cut off all the time.

`python -m reactorcide.benchmarks.chaos --jobs 10000 --workers 8 --slots 4 --seed 1`: progress on
stderr, one line of JSON on stdout, exit code 1 when anything was lost, stuck, accepted late,
illegal, run for no reason, or run twice at a time. Each command writes what it does to a file of
its own accord; that and the log are compared at the end.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from reactorcide.api.direct import Submitter
from reactorcide.api.jobs.asked import Asked
from reactorcide.benchmarks.chaos_audit import Audit, audit, read_runs
from reactorcide.benchmarks.chaos_fleet import Fleet, Plan, rage, tell
from reactorcide.benchmarks.ending import run_to_end
from reactorcide.benchmarks.harness import streams_of
from reactorcide.eventstore.database import Database, DatabaseError
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.migrations.runner import migrate_up

_LOOK_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 120.0
_CHUNK: Final = 50
_LONG_AMONG: Final = 0.9
"""Only among the first of the jobs some last longer than a lease, and these go before others.

How long the rest takes once the faults are over tells of leases, not of a command of 22 s.
"""
_OPEN: Final = """
SELECT count(*) FROM jobs WHERE status IN ('submitted', 'queued', 'claimed', 'running')"""
_JOBS: Final = "SELECT stream_id FROM events WHERE type = 'job.submitted' ORDER BY position"
_WORKERS: Final = "SELECT worker_id, pid FROM workers"

_TICK_SECONDS: Final = 0.1
# The time is that of the machine's boot clock; to say something starts no program.
_COMMAND: Final = """\
say() { read -r at idle < /proc/uptime; \
echo "$1 $REACTORCIDE_JOB_ID $REACTORCIDE_ATTEMPT $$ $at $REACTORCIDE_WORKER_ID" >> EVIDENCE; }
say B; n=0
while [ $n -lt TICKS ]; do sleep 0.1; say T; n=$((n + 1)); done
say E; echo "attempt $REACTORCIDE_ATTEMPT is done"
test "$REACTORCIDE_ATTEMPT" -ge GOOD
"""

_NEVER: Final = (
    "lost",
    "stuck",
    "accepted_stale_writes",
    "illegal_transitions",
    "unexplained_extra_runs",
    "overlaps",
    "bad_exits",
)


def jobs_of(plan: Plan, dice: Random, evidence: Path) -> list[Asked]:
    """Return what to submit: mostly short, some longer than a lease, some fail at first."""
    jobs: list[Asked] = []
    for number in range(plan.jobs):
        ticks = dice.randint(1, max(int(plan.command_seconds / _TICK_SECONDS), 1))
        priority = dice.randrange(3)
        if number % 50 == 0 and number < plan.jobs * _LONG_AMONG:
            ticks, priority = int(plan.lease * 1.5 / _TICK_SECONDS), 3
        good = 2 if number % 20 == 1 else 1
        words = {"EVIDENCE": str(evidence), "TICKS": str(ticks), "GOOD": str(good)}
        text = _COMMAND
        for name, value in words.items():
            text = text.replace(name, value)
        jobs.append({
            "name": f"chaos {number}", "job_command": text, "max_attempts": 3,
            "retry_backoff_seconds": 0.5, "priority": priority,
        })  # fmt: skip
    return jobs


class Monitor:
    """Submits, looks how much is left, and reads it all in the end; the server comes and goes."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.acknowledged: list[UUID] = []
        self.left = 0
        """How many jobs have not ended, by the last look; those submitted since are added."""

    async def submit(self, jobs: Sequence[Asked], pause_seconds: float) -> None:
        """Submit jobs, some at a time; what was refused by a server that is away comes again."""
        waiting = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
        while waiting:
            with suppress(DatabaseError):
                async with Submitter(self._uri, user_id=new_id()) as submitter:
                    while waiting:
                        self.acknowledged += await submitter.submit_many(waiting[0])
                        self.left += len(waiting.pop(0))
                        await asyncio.sleep(pause_seconds)
            await asyncio.sleep(0.1)

    async def look(self) -> int | None:
        """Return how many jobs have not ended; None when the server is away."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(self._uri, timeout=5)
            try:
                self.left = await connection.fetchval(_OPEN, timeout=5)
            finally:
                connection.terminate()
            return self.left
        return None

    async def watch(self) -> None:
        """Look all the time."""
        while True:
            if await self.look() is not None:
                tell(f"{len(self.acknowledged)} submitted, {self.left} have not ended")
            await asyncio.sleep(_LOOK_SECONDS)

    async def drained(self) -> float | None:
        """Wait until all jobs have ended; return how many seconds that took.

        None: for too long none of them ended.
        """
        began = ended_at = time.monotonic()
        least = self.left
        while time.monotonic() - ended_at < _PATIENCE_SECONDS:
            if await self.look() == 0:
                return time.monotonic() - began
            if self.left < least:
                least, ended_at = self.left, time.monotonic()
            await asyncio.sleep(0.1)
        return None

    async def read(self) -> tuple[dict[UUID, list[RecordedEvent]], dict[UUID, int]]:
        """Return every job's stream, and each worker's process id."""
        connection = await Database(self._uri).connect(role=False)
        try:
            ids = [row[0] for row in await connection.fetch(_JOBS)]
            streams = await streams_of(connection, ids)
            workers = {row[0]: row[1] for row in await connection.fetch(_WORKERS)}
        finally:
            await connection.close()
        return streams, workers


async def run(plan: Plan, home: Path) -> dict[str, Any]:
    """Do it all; return the figures."""
    fleet, dice = Fleet(plan, home), Random(plan.seed)  # noqa: S311  to be done again alike
    evidence = home / "evidence"
    evidence.touch()
    try:
        await asyncio.to_thread(fleet.start)
        await asyncio.to_thread(migrate_up, fleet.uri)
        monitor = Monitor(fleet.uri)
        drained = await _ordeal(fleet, monitor, dice, jobs_of(plan, dice, evidence))
        await asyncio.to_thread(fleet.end_workers)
        streams, workers = await monitor.read()
        with evidence.open() as lines:
            runs = read_runs(lines)
        felled = frozenset(one for one, pid in workers.items() if pid in fleet.felled)
        found = audit(streams, monitor.acknowledged, runs, felled)
    finally:
        await asyncio.to_thread(fleet.end)
    for note in found.notes:
        tell(note)
    return _figures(fleet, found, drained, len(streams))


async def _ordeal(
    fleet: Fleet, monitor: Monitor, dice: Random, jobs: Sequence[Asked]
) -> float | None:
    """Let it rage while jobs are submitted and run; then wait, and return how long."""
    half = len(jobs) // 2
    await monitor.submit(jobs[:half], 0)
    tending = asyncio.create_task(fleet.tend())
    pause = fleet.plan.seconds / 4 / (half / _CHUNK + 1)
    submitting = asyncio.create_task(monitor.submit(jobs[half:], pause))
    watching = asyncio.create_task(monitor.watch())
    few = fleet.plan.workers * fleet.plan.slots

    def is_over() -> bool:
        return submitting.done() and monitor.left < few and fleet.has_struck

    try:
        await rage(fleet, dice, is_over)
        await submitting
        tell(f"the faults are over, {monitor.left} jobs have not ended")
        return await monitor.drained()
    finally:
        for task in (submitting, watching, tending):
            task.cancel()


def _figures(fleet: Fleet, found: Audit, drained: float | None, jobs: int) -> dict[str, Any]:
    return {
        "measure": "chaos",
        "seed": fleet.plan.seed,
        "jobs": jobs,
        "kills": fleet.kills,
        "restarts": fleet.restarts,
        "stops": fleet.stops,
        "lost": found.lost,
        "stuck": found.stuck,
        "accepted_stale_writes": found.accepted_stale_writes,
        "illegal_transitions": found.illegal_transitions,
        "unexplained_extra_runs": found.unexplained_extra_runs,
        "overlaps": found.overlaps,
        "overlaps_of_orphans": found.overlaps_of_orphans,
        "extra_runs": found.extra_runs,
        "poisoned": found.poisoned,
        "drain_seconds": None if drained is None else round(drained, 1),
        "bad_exits": fleet.bad_exits,
        "seconds": round(fleet.seconds),
    }


def has_failed(
    figures: dict[str, Any], *, orphans_allowed: bool, drain_within: float = _PATIENCE_SECONDS
) -> bool:
    """Say whether anything happened that must not."""
    bad = [*_NEVER]
    if not orphans_allowed:
        bad.append("overlaps_of_orphans")
    drained = figures["drain_seconds"]
    return drained is None or drained > drain_within or any(figures[name] for name in bad)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=900, help="faults end then at the latest")
    parser.add_argument("--lease", type=int, default=15)
    parser.add_argument(
        "--command-seconds", type=float, default=0.3, help="the longest of usual commands"
    )
    parser.add_argument("--kill-every", type=float, default=2.0)
    parser.add_argument("--restart-every", type=float, default=10.0)
    parser.add_argument("--stop-every", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--orphans-allowed",
        action="store_true",
        help="do not fail for commands that outlived a worker killed or stopped",
    )
    parser.add_argument(
        "--drain-within",
        type=float,
        default=_PATIENCE_SECONDS,
        help="fail when the rest takes more seconds than this after the faults",
    )
    options = vars(parser.parse_args(arguments))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    orphans_allowed, drain_within = options.pop("orphans_allowed"), options.pop("drain_within")
    with tempfile.TemporaryDirectory(prefix="rc-chaos-") as home:
        figures = run_to_end(run(Plan(**options), Path(home)))
    print(json.dumps(figures), flush=True)  # noqa: T201  its output
    return int(has_failed(figures, orphans_allowed=orphans_allowed, drain_within=drain_within))


if __name__ == "__main__":
    sys.exit(main())
