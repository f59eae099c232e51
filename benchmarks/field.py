"""Where single faults are tried: a server, some workers, and commands that say when they lived.

The first attempt at a job goes on until somebody ends it; the next one ends by itself. Each says
so to a file of its own accord, by the clock of the machine's boot. What is done to the workers,
and what of it is measured, is for others to say.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.chaos_audit import Audit, Run, audit, read_runs
from reactorcide.benchmarks.chaos_fleet import Fleet
from reactorcide.benchmarks.harness import streams_of
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.job import JOB, CancelJob
from reactorcide.eventstore.handle import TransactionDoor, handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.migrations.runner import migrate_up
from reactorcide.projections import job_rows

PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05
_HELD: Final = """
SELECT w.pid, j.attempt FROM jobs AS j JOIN workers AS w USING (worker_id)
WHERE j.job_id = $1 AND j.status = 'running'"""
_STATUS: Final = "SELECT status FROM jobs WHERE job_id = $1"
_READY: Final = "SELECT pid FROM workers"
_LAST_CHUNK: Final = "SELECT max(seq) FROM log_chunks WHERE job_id = $1 AND attempt = $2"
_COMMAND: Final = """\
say() { read -r at idle < /proc/uptime; \
echo "$1 $REACTORCIDE_JOB_ID $REACTORCIDE_ATTEMPT $$ $at $REACTORCIDE_WORKER_ID" >> EVIDENCE; }
trap '' TERM; say B
while [ "$REACTORCIDE_ATTEMPT" = 1 ]; do sleep 0.05; say T; echo tick; done
say E
"""


class Held(NamedTuple):
    """Who runs a job, and the attempt of which number that is."""

    pid: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Field:
    """What there is to work with; open as long as `field` is."""

    fleet: Fleet
    pool: Pool
    submitter: Submitter
    evidence: Path

    async def submit(self) -> UUID:
        """Submit a job whose first attempt goes on and on."""
        command = _COMMAND.replace("EVIDENCE", str(self.evidence))
        return await self.submitter.submit(job_command=command, timeout_seconds=3600)

    async def held(self, job_id: UUID) -> Held:
        """Wait until a job's command has begun; return who runs it."""
        while True:
            row = await self.pool.fetchrow(_HELD, job_id)
            if row is not None:
                attempt = row["attempt"]
                if any(run.attempt == attempt for run in self.runs(job_id)):
                    return Held(row["pid"], attempt)
            await asyncio.sleep(_LOOK_SECONDS)

    async def completed(self, job_id: UUID) -> None:
        """Wait until a job has completed."""
        while await self.pool.fetchval(_STATUS, job_id) != "completed":  # noqa: ASYNC110  a measure
            await asyncio.sleep(_LOOK_SECONDS)

    async def kill(self, job_id: UUID) -> None:
        """Have a job ended at once."""
        async with self.pool.acquire() as connection:
            door = TransactionDoor(connection, job_rows.rows)
            await handle(connection, door, JOB, job_id, CancelJob(0), SYSTEM)

    async def last_chunk(self, job_id: UUID, attempt: int) -> int:
        """Return the number of the last piece of an attempt's log."""
        return await self.pool.fetchval(_LAST_CHUNK, job_id, attempt) or 0

    async def ready(self) -> None:
        """Wait until all workers say that they are there."""
        while set(self.fleet.pids) - {row[0] for row in await self.pool.fetch(_READY)}:  # noqa: ASYNC110  as above
            await asyncio.sleep(_LOOK_SECONDS)

    def runs(self, job_id: UUID | None = None) -> list[Run]:
        """Return what the commands say of themselves by now."""
        with self.evidence.open() as lines:
            runs = read_runs(line for line in lines if job_id is None or str(job_id) in line)
        return sorted(runs, key=lambda run: (run.job_id, run.attempt))

    async def audit(self, job_ids: list[UUID]) -> Audit:
        """Compare the log with that; nobody is excused."""
        streams = await streams_of(self.pool, job_ids)
        return audit(streams, job_ids, self.runs(), frozenset())


@asynccontextmanager
async def field(fleet: Fleet) -> AsyncIterator[Field]:
    """Start the server and the workers; nothing is left of them afterwards."""
    evidence = fleet.home / "evidence"
    evidence.touch()
    try:
        await asyncio.to_thread(fleet.start)
        await asyncio.to_thread(migrate_up, fleet.uri)
        fleet.start_workers()
        async with (
            await Database(fleet.uri).create_pool(1, 10) as pool,
            Submitter(fleet.uri, user_id=new_id()) as submitter,
        ):
            opened = Field(fleet, pool, submitter, evidence)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await opened.ready()
            yield opened
    finally:
        await asyncio.to_thread(fleet.end)


def boot_seconds() -> float:
    """Return the time as commands say it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
