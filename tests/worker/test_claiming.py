"""Each job is claimed once, however many workers want it."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Failed
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, request, settings_for
from reactorcide.worker.direct import DirectCoordinator, open_coordinator

CLAIMED: Final = int(os.environ.get("REACTORCIDE_CLAIMED", "600"))
"""In hundreds; `make courses` has two thousand."""

NO_OP = Failed(None, "nothing to do")  # an outcome that needs no start


async def test_eight_workers_claim_hundreds_of_jobs_once_each(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """All of them, and each by one worker only."""
    submitted: list[UUID] = []
    for _ in range(CLAIMED // 200):
        submitted += await desk.submit_many([request()] * 200)
    async with AsyncExitStack() as stack:
        settings = settings_for(tmp_path)
        racers = [
            await stack.enter_async_context(open_coordinator(settings, database, SEALER))
            for _ in range(8)
        ]
        async with asyncio.timeout(30 + CLAIMED / 20):
            claimed = await asyncio.gather(*(_claim_and_finish(racer) for racer in racers))
    everything = [job_id for one in claimed for job_id in one]
    assert len(everything) == CLAIMED
    assert set(everything) == set(submitted)
    counts = await desk.pool.fetchrow(
        "SELECT count(*) FILTER (WHERE type = 'job.claimed') AS claimed,"
        " count(*) FILTER (WHERE type = 'job.failed') AS failed FROM events"
    )
    assert counts is not None
    assert tuple(counts) == (CLAIMED, CLAIMED)
    assert await desk.pool.fetchval("SELECT count(lease_until) FROM jobs") == 0


async def _claim_and_finish(worker: DirectCoordinator) -> list[UUID]:
    """Claim four at a time and finish them, until there is nothing left."""
    claimed: list[UUID] = []
    while True:
        claim = await worker.claim(4)
        await asyncio.gather(*(worker.finish(one.key, NO_OP) for one in claim.attempts))
        claimed += [one.key.job_id for one in claim.attempts]
        if not claim.attempts and not claim.has_more:
            return claimed


async def test_a_worker_alone_claims_in_order(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """No more than it has slots for, and it is told that there is more."""
    ids = [await desk.submit() for _ in range(5)]
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        first, second = await worker.claim(3), await worker.claim(3)
        assert [one.key.job_id for one in first.attempts] == ids[:3]
        assert [one.key.job_id for one in second.attempts] == ids[3:]
        assert (first.has_more, second.has_more) == (True, False)
        assert (await worker.claim(3)).attempts == ()


async def test_it_is_told_when_the_next_job_is_due(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """So that a worker wakes in time without polling."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        assert await worker.next_due_seconds() is None
        job_id = await desk.submit(max_attempts=2, retry_backoff_seconds=60)
        await _is_due_in(desk, job_id, 60)
        due = await worker.next_due_seconds()
        assert due is not None
        assert 50 < due <= 60


async def test_what_fell_due_around_a_look_is_told_once(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """So that no retry is slept over, and nobody looks forever for what others must take."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        job_id = await desk.submit(labels={"gpu": "yes"})
        await _is_due_in(desk, job_id, 60)
        assert not (await worker.claim(1)).attempts
        due = await worker.next_due_seconds()
        assert due is not None
        assert due > 50
        assert not (await worker.claim(1)).attempts
        await _is_due_in(desk, job_id, 0)
        due = await worker.next_due_seconds()
        assert due is not None
        assert due <= 0
        assert await worker.next_due_seconds() is None


async def _is_due_in(desk: Desk, job_id: UUID, seconds: float) -> None:
    """Have a job's time come."""
    await desk.pool.execute(
        "UPDATE jobs SET available_at = clock_timestamp() + make_interval(secs => $2)"
        " WHERE job_id = $1",
        job_id,
        seconds,
    )
