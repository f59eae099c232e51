"""Workers that are stopped for some leases while they run a command: what becomes of it.

`python -m reactorcide.benchmarks.stops --stops 50`: one line of JSON, exit code 1 unless every
command was dead before the next attempt began, and nothing that was written late was taken. A
worker stands still for two to five leases; it wakes up, and its writes are refused.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog

from reactorcide.benchmarks.chaos_fleet import Fleet, Plan, tell
from reactorcide.benchmarks.ending import run_to_end
from reactorcide.benchmarks.field import PATIENCE_SECONDS, Field, boot_seconds, field
from reactorcide.benchmarks.harness import percentile

_LEASES: Final = (2.0, 5.0)
_SETTLE_LEASES: Final = 1.0
"""So long after a stop what a worker that woke up still had to say has been said."""
_NEVER: Final = (
    "accepted_stale_writes",
    "late_chunks",
    "illegal_transitions",
    "overlaps",
    "not_run_again",
)


class Stop(NamedTuple):
    """One worker that was stopped."""

    job_id: UUID
    began: float
    attempt: int
    late_chunks: int


async def stop_one(place: Field, dice: Random) -> Stop:
    """Let a worker take a job, stop it for some leases, and see what it says afterwards."""
    lease = place.fleet.plan.lease
    job_id = await place.submit()
    held = await place.held(job_id)
    began = boot_seconds()
    async with place.fleet.stopped(held.pid):
        until = began + lease * dice.uniform(*_LEASES)
        await place.completed(job_id)
        before = await place.last_chunk(job_id, held.attempt)
        await asyncio.sleep(max(until - boot_seconds(), 0))
    await asyncio.sleep(lease * _SETTLE_LEASES)
    late = await place.last_chunk(job_id, held.attempt) - before
    return Stop(job_id, began, held.attempt, late)


async def stop_many(place: Field, stops: int, seed: int) -> dict[str, Any]:
    """Stop workers, all but two at a time; return the figures."""
    dice = Random(seed)  # noqa: S311  to be done again alike
    slots = asyncio.Semaphore(place.fleet.plan.workers - 2)
    done: list[Stop] = []

    async def one() -> None:
        async with slots, asyncio.timeout(PATIENCE_SECONDS + 10 * place.fleet.plan.lease):
            done.append(await stop_one(place, dice))
            tell(f"{len(done)} of {stops}")

    async with asyncio.TaskGroup() as stopping:
        for _ in range(stops):
            stopping.create_task(one())
    return await _figures(place, done)


async def _figures(place: Field, done: Sequence[Stop]) -> dict[str, Any]:
    found = await place.audit([stop.job_id for stop in done])
    for note in found.notes:
        tell(note)
    runs = {(run.job_id, run.attempt): run for run in place.runs()}
    pairs = [
        (stop, runs[stop.job_id, stop.attempt], runs.get((stop.job_id, stop.attempt + 1)))
        for stop in done
    ]
    dead = [earlier.last - stop.began for stop, earlier, _ in pairs]
    gaps = [later.began - earlier.last for _, earlier, later in pairs if later is not None]
    return {
        "measure": "stops",
        "stops": len(done),
        "lease": place.fleet.plan.lease,
        "accepted_stale_writes": found.accepted_stale_writes,
        "late_chunks": sum(stop.late_chunks for stop in done),
        "illegal_transitions": found.illegal_transitions,
        "overlaps": found.overlaps,
        "not_run_again": len(done) - len(gaps),
        "dead_before_next_seconds_min": round(min(gaps, default=0), 2),
        "dead_after_seconds_max": round(max(dead), 2),
        "next_after_seconds_p50": round(percentile(_nexts(pairs), 50), 2),
        "next_after_seconds_max": round(max(_nexts(pairs)), 2),
    }


def _nexts(pairs: Sequence[tuple[Stop, Any, Any]]) -> list[float]:
    return [later.began - stop.began for stop, _, later in pairs if later is not None]


def has_failed(figures: dict[str, Any]) -> bool:
    """Say whether anything happened that must not."""
    return any(figures[name] for name in _NEVER) or figures["dead_before_next_seconds_min"] <= 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--lease", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    plan = Plan(0, options.workers, 1, 0, options.lease, 0, 0, 0, options.seed)

    async def on_a_field(home: Path) -> dict[str, Any]:
        async with field(Fleet(plan, home)) as place:
            return await stop_many(place, options.stops, options.seed)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="rc-stops-") as home:
        figures = run_to_end(on_a_field(Path(home)))
    print(json.dumps(figures), flush=True)  # noqa: T201  its output
    return int(has_failed(figures))


if __name__ == "__main__":
    sys.exit(main())
