"""Workers that die while they run a command: how soon it runs again somewhere else.

`python -m reactorcide.benchmarks.takeovers --deaths 30`: one line of JSON, exit code 1 when a job
was not run again, or the slowest hundredth later than 20 s after the death. Half of the workers
are killed alone, half with their supervisor and their commands at the same moment. What bounds
it: a lease runs for 15 s from the last beat, who may notice looks every 2 s, and takes the job.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog

from reactorcide.benchmarks.chaos_fleet import Fleet, Plan, tell
from reactorcide.benchmarks.ending import run_to_end
from reactorcide.benchmarks.field import PATIENCE_SECONDS, Field, boot_seconds, field
from reactorcide.benchmarks.harness import percentile

_SLOTS: Final = 2
_AT_ONCE: Final = 6
_AGAIN_SECONDS: Final = 20.0


class Death(NamedTuple):
    """One worker that was killed, and the jobs that it ran."""

    at: float
    job_ids: Sequence[UUID]


async def kill_some(place: Field, deaths: int, *, family: bool) -> list[Death]:
    """Give every worker something to do, kill some at once, and wait for their jobs."""
    job_ids = [await place.submit() for _ in range(place.fleet.plan.workers)]
    of_worker: dict[int, list[UUID]] = {}
    for job_id in job_ids:
        of_worker.setdefault((await place.held(job_id)).pid, []).append(job_id)
    died = []
    for pid, its_jobs in list(of_worker.items())[:deaths]:
        died.append(Death(boot_seconds(), its_jobs))
        place.fleet.kill(pid, family=family)
    orphans = [job_id for death in died for job_id in death.job_ids]
    await asyncio.gather(*map(place.completed, orphans))
    for job_id in set(job_ids) - set(orphans):
        await place.kill(job_id)
    return died


async def kill_many(place: Field, deaths: int) -> dict[str, Any]:
    """Kill workers, some at a time; return the figures."""
    died: list[Death] = []
    family = False
    while len(died) < deaths:
        if died:
            place.fleet.start_workers()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await place.ready()
        async with asyncio.timeout(PATIENCE_SECONDS):
            died += await kill_some(place, min(_AT_ONCE, deaths - len(died)), family=family)
        tell(f"{len(died)} of {deaths}")
        family = not family
    job_ids = [job_id for death in died for job_id in death.job_ids]
    found = await place.audit(job_ids)
    for note in found.notes:
        tell(note)
    again = {run.job_id: run.began for run in place.runs() if run.attempt > 1}
    late = [again[one] - death.at for death in died for one in death.job_ids if one in again]
    return {
        "measure": "takeovers",
        "lease": place.fleet.plan.lease,
        "deaths": len(died),
        "jobs": len(job_ids),
        "not_run_again": len(job_ids) - len(late),
        "overlaps": found.overlaps,
        "accepted_stale_writes": found.accepted_stale_writes,
        "p50_seconds": round(percentile(late, 50), 2),
        "p99_seconds": round(percentile(late, 99), 2),
        "max_seconds": round(max(late), 2),
    }


def has_failed(figures: dict[str, Any]) -> bool:
    """Say whether anything happened that must not."""
    bad = ("not_run_again", "overlaps", "accepted_stale_writes")
    return any(figures[name] for name in bad) or figures["p99_seconds"] > _AGAIN_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=30)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--lease", type=int, default=15)
    options = parser.parse_args(arguments)
    plan = Plan(0, options.workers, _SLOTS, 0, options.lease, 0, 0, 0, 0)

    async def on_a_field(home: Path) -> dict[str, Any]:
        async with field(Fleet(plan, home)) as place:
            return await kill_many(place, options.deaths)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="rc-takeovers-") as home:
        figures = run_to_end(on_a_field(Path(home)))
    print(json.dumps(figures), flush=True)  # noqa: T201  its output
    return int(has_failed(figures))


if __name__ == "__main__":
    sys.exit(main())
