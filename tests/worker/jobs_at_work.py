"""What the tests of a working worker share: submitting, waiting, and a worker that runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from pydantic import JsonValue

from reactorcide.eventstore import store
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.codec import decode
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.events import AnyEvent, JobSubmitted
from reactorcide.eventstore.domain.job import (
    FINAL,
    JOB,
    CancelJob,
    JobState,
    Status,
    SubmitJob,
)
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import decided, handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.eventstore.sealing import Sealer
from reactorcide.projections import job_rows, jobs, log_chunks
from reactorcide.projections.jobs import Job
from reactorcide.projections.log_chunks import Part
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.handlers import NO_HANDLERS, Handlers
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Runner
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.worker import Worker

OWNER: Final = new_id()
SEALER: Final = Sealer(b"k" * 32)
PATIENCE_SECONDS: Final = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """The other side of the coordinator: submits, asks for stops, looks."""

    pool: Pool
    write: Appender[JobState]
    doorbell: Doorbell

    async def submit(self, job_command: str = "true", *, rings: bool = True, **fields: Any) -> UUID:
        """Submit one job and ring for it."""
        (job_id,) = await self.submit_many([request(job_command, **fields)], rings=rings)
        return job_id

    async def call(self, handler: str, args: JsonValue = None, **fields: Any) -> UUID:
        """Submit one job for a handler and ring for it."""
        (job_id,) = await self.submit_many([call_of(handler, args, **fields)])
        return job_id

    async def submit_many(
        self, requests: Sequence[JobSubmitted], *, rings: bool = True
    ) -> list[UUID]:
        """Submit jobs in one append."""
        now = datetime.now(UTC)
        units = [
            unit
            for submitted in requests
            if (
                unit := decided(
                    JOB,
                    JobState(),
                    0,
                    new_id(),
                    SubmitJob(submitted, now, bool(submitted.depends_on)),
                    SYSTEM,
                )
            )
        ]
        await self.write.append(units)
        if rings:
            self.doorbell.ring("jobs")
        return [change.stream_id for _, change in units]

    async def cancel(self, job_id: UUID, grace_seconds: int = 10, *, rings: bool = True) -> None:
        """Ask for the end of a job."""
        await handle(self.pool, self.write, JOB, job_id, CancelJob(grace_seconds), SYSTEM)
        if rings:
            self.doorbell.ring("control")

    async def job(self, job_id: UUID) -> Job:
        """Return a job as it stands."""
        job = await jobs.get(self.pool, job_id)
        assert job is not None
        return job

    async def becomes(self, job_id: UUID, *statuses: Status) -> Job:
        """Wait until a job has one of some statuses."""

        async def has_status() -> Job | None:
            job = await self.job(job_id)
            return job if job.state.status in statuses else None

        return await eventually(has_status)

    async def ends(self, job_id: UUID) -> Job:
        """Wait until a job has ended."""
        return await self.becomes(job_id, *FINAL)

    async def events(self, job_id: UUID) -> list[AnyEvent]:
        """Return what happened to a job."""
        return [decode(one) for one in await store.read_stream(self.pool, job_id)]

    async def names(self, job_id: UUID) -> list[str]:
        """Return the wire names of what happened to a job, without `job.`."""
        return [event.wire_type.removeprefix("job.") for event in await self.events(job_id)]

    async def log(self, job_id: UUID, attempt: int | None = None) -> bytes:
        """Return what a job has printed by now."""
        chunks = await log_chunks.read(self.pool, Part(job_id, attempt))
        return b"".join(chunk.bytes for chunk in chunks)

    async def prints(self, job_id: UUID, text: bytes) -> bytes:
        """Wait until a job has printed something."""

        async def has_printed() -> bytes | None:
            log = await self.log(job_id)
            return log if text in log else None

        return await eventually(has_printed)


async def eventually(
    look: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE_SECONDS
) -> T:
    """Wait until `look` returns something."""
    async with asyncio.timeout(seconds):
        while not (seen := await look()):  # noqa: ASYNC110  what others do rings no event here
            await asyncio.sleep(0.005)
    return seen


async def claimed(worker: DirectCoordinator, slots: int = 4) -> tuple[list[UUID], bool]:
    """Claim as a woken worker does; return the jobs, and whether there may be more."""
    claim = await worker.claim(slots, is_woken=True)
    return [one.key.job_id for one in claim.attempts], claim.has_more


async def claimed_all(worker: DirectCoordinator, slots: int, seen: list[UUID]) -> None:
    """Claim as a woken worker does until there is no more; add the jobs to `seen`."""
    has_more = True
    while has_more:
        jobs, has_more = await claimed(worker, slots)
        seen.extend(jobs)


def lives(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def request(job_command: str = "true", **fields: Any) -> JobSubmitted:
    """Return a request for a job."""
    return JobSubmitted(user_id=OWNER, name="a job", job_command=job_command, **fields)


def call_of(handler: str, args: JsonValue = None, **fields: Any) -> JobSubmitted:
    """Return a request for a job that names a handler."""
    return JobSubmitted(user_id=OWNER, name="a call", handler=handler, args=args, **fields)


def settings_for(folder: Path, **changes: Any) -> WorkerSettings:
    """Return settings with short waits where a test would have to wait for them."""
    short = WorkerSettings(
        "tester", folder / "workspaces", grace_seconds=1.0, spool_dir=folder / "spool"
    )
    return replace(short, **changes)


@asynccontextmanager
async def desk_of(database: Database) -> AsyncIterator[Desk]:
    """Open the other side."""
    async with AsyncExitStack() as stack:
        pool = await database.create_pool(1, 4)
        stack.push_async_callback(pool.close)
        write = await stack.enter_async_context(Appender(database, job_rows.rows))
        doorbell = await stack.enter_async_context(Doorbell(database))
        yield Desk(pool, write, doorbell)


@dataclass(slots=True)
class AtWork:
    """A worker that runs."""

    worker: Worker
    coordinator: DirectCoordinator
    stop: asyncio.Event
    task: "asyncio.Task[None]"


@asynccontextmanager
async def working(
    database: Database,
    settings: WorkerSettings,
    handlers: Handlers = NO_HANDLERS,
    runner: Runner | None = None,
) -> AsyncIterator[AtWork]:
    """Let a worker work during the block; it drains at the end."""
    async with open_coordinator(settings, database, SEALER) as coordinator:
        worker = Worker(settings, coordinator, runner or ProcessRunner(), handlers)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield AtWork(worker, coordinator, stop, task)
            stop.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.wait([task])
            if not task.cancelled():
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
