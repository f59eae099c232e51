"""What a worker would do to a job, in single steps, for tests that need a job at some point."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from reactorcide.api.services import Services
from reactorcide.eventstore.domain.job import (
    JOB,
    ClaimJob,
    Completed,
    FinishAttempt,
    JobCommand,
    Outcome,
    StartJob,
)
from reactorcide.eventstore.handle import handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import artifacts, log_chunks
from reactorcide.projections.log_chunks import LogChunk, Stream
from reactorcide.tests.api.conftest import Client
from reactorcide.worker.artifact_records import ArtifactRecords
from reactorcide.worker.coordinator import Artifact, AttemptKey


async def command(services: Services, job_id: str, what: JobCommand) -> None:
    """Issue a command to a job, and ring."""
    await handle(services.pool, services.jobs, JOB, UUID(job_id), what, SYSTEM)
    for topic in ("jobs", "control", "events"):
        services.doorbell.ring(topic)


async def start(services: Services, job_id: str, attempt: int = 1) -> None:
    """Claim a job and start its command."""
    await command(services, job_id, ClaimJob(new_id(), 60, datetime.now(UTC)))
    await command(services, job_id, StartJob(attempt))


async def finish(
    services: Services, job_id: str, outcome: Outcome | None = None, attempt: int = 1
) -> None:
    """Report how an attempt ended; well, unless said otherwise."""
    ended = FinishAttempt(attempt, outcome or Completed(), datetime.now(UTC), 0.0)
    await command(services, job_id, ended)


async def run(services: Services, job_id: str, outcome: Outcome | None = None) -> None:
    """Start a job's first attempt and end it."""
    await start(services, job_id)
    await finish(services, job_id, outcome)


class Piece(NamedTuple):
    """A piece of output."""

    seq: int
    data: bytes
    stream: Stream = "stdout"
    attempt: int = 1


async def say(services: Services, job_id: str, *pieces: Piece) -> None:
    """Add pieces of output, and ring."""
    now = datetime.now(UTC)
    chunks = [LogChunk(UUID(job_id), p.attempt, p.seq, p.stream, now, p.data) for p in pieces]
    assert not await log_chunks.append_chunks(services.pool, chunks)
    services.doorbell.ring("logs")


async def leave(
    services: Services, job_id: str, files: Mapping[str, bytes], attempt: int = 1
) -> None:
    """Leave artifacts as an attempt that holds its job does."""
    key = AttemptKey(UUID(job_id), attempt)
    records = ArtifactRecords(services.pool, services.objects)
    await records.begin(key)
    rows = []
    for nth, (path, content) in enumerate(files.items()):
        object_key = f"{artifacts.prefix_of(*key)}/{nth}"
        await services.objects.put(object_key, _pieces(content))
        rows.append(Artifact(path, len(content), hashlib.sha256(content).digest(), object_key))
    await records.add(key, rows)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def until(client: Client, job_id: str, status: str) -> dict[str, Any]:
    """Ask for a job until it stands at `status`, at most ten seconds; return it."""
    async with asyncio.timeout(10):
        while True:
            job: dict[str, Any] = (await client.get(f"/api/v1/jobs/{job_id}")).json()
            if job["status"] == status:
                return job
