"""A worker that lost its lease stops its command, and nothing it still says counts."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import Completed, Status
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    eventually,
    lives,
    settings_for,
    working,
)
from reactorcide.worker.coordinator import AttemptKey, Chunk
from reactorcide.worker.direct import open_coordinator

MOVE_BACK = "UPDATE jobs SET lease_until = now() - interval '1 minute' WHERE job_id = $1"


async def test_a_job_whose_lease_is_over_runs_again(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Its command is killed, what it printed later is refused, the next attempt completes."""
    started = tmp_path / "started"
    text = f'test "$REACTORCIDE_ATTEMPT" = 2 || {{ touch {started}; exec sleep 60; }}'
    # So long a lease that no beat comes by itself in time.
    async with working(database, settings_for(tmp_path, lease_seconds=600)):
        job_id = await desk.submit(text)
        await desk.becomes(job_id, Status.RUNNING)
        await desk.pool.execute(MOVE_BACK, job_id)
        await eventually(lambda: _expired(desk))
        desk.doorbell.ring("control")
        desk.doorbell.ring("jobs")
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.attempt, job.state.failures) == (
            Status.COMPLETED,
            2,
            0,
        )
        names = await desk.names(job_id)
        assert names[2:] == ["started", "lease_expired", "claimed", "started", "completed"]


async def _expired(desk: Desk) -> bool:
    await upkeep(desk.pool, desk.write)
    return bool(
        await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'job.lease_expired'")
    )


async def test_writes_of_a_stale_attempt_are_refused(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Start, log and outcome alike; a beat says that it is lost."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as stale:
        job_id = await desk.submit()
        (claimed,) = (await stale.claim(1)).attempts
        await desk.pool.execute(MOVE_BACK, job_id)
        await eventually(lambda: _expired(desk))
        with pytest.raises(NotLeaseHolder):
            await stale.start(claimed.key)
        with pytest.raises(NotLeaseHolder):
            await stale.finish(claimed.key, Completed())
        late = Chunk(1, "stdout", datetime.now(UTC), b"late")
        with pytest.raises(NotLeaseHolder):
            await stale.log(claimed.key, [late])
        async with stale.open_beater() as beater:
            assert await beater.beat([claimed.key]) == {}
        assert await desk.log(job_id) == b""


async def test_a_later_attempts_lease_is_not_renewed_by_an_earlier_one(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Not even by the same worker."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as coordinator:
        job_id = await desk.submit()
        (first,) = (await coordinator.claim(1)).attempts
        await desk.pool.execute(MOVE_BACK, job_id)
        await eventually(lambda: _expired(desk))
        (second,) = (await coordinator.claim(1)).attempts
        assert second.key == AttemptKey(job_id, 2)
        async with coordinator.open_beater() as beater:
            assert await beater.beat([first.key, second.key]) == {second.key: None}


async def test_chunks_of_several_attempts_go_together_and_fail_apart(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The stale one is refused, its neighbours are kept."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as coordinator:
        ids = [await desk.submit() for _ in range(3)]
        claim = await coordinator.claim(3)
        await desk.cancel(ids[1])  # not started: cancelled at once, nobody holds it
        at = (await desk.job(ids[0])).created_at
        answers = await asyncio.gather(
            *(
                coordinator.log(one.key, [Chunk(1, "stdout", at, b"said")])
                for one in claim.attempts
            ),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), NotLeaseHolder, type(None)]
        assert [await desk.log(job_id) for job_id in ids] == [b"said", b"", b"said"]


async def test_an_outcome_meets_a_cancel_request_it_did_not_know(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It is decided again by what the job is now; a completed command is completed."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as coordinator:
        job_id = await desk.submit()
        (claimed,) = (await coordinator.claim(1)).attempts
        await coordinator.start(claimed.key)
        await desk.cancel(job_id)
        await coordinator.finish(claimed.key, Completed())
        assert (await desk.job(job_id)).state.status is Status.COMPLETED
        assert (await desk.names(job_id))[-2:] == ["cancel_requested", "completed"]


async def test_a_worker_whose_beat_fails_takes_no_work_and_gives_up_in_time(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Its command is dead before the lease could be another's; then it works again."""
    settings = settings_for(tmp_path, lease_seconds=1.2, concurrency=2)
    async with working(database, settings):
        job_id = await desk.submit("echo $$; exec sleep 60")
        pid = int(await desk.prints(job_id, b"\n"))
        locking = await database.connect()
        transaction = locking.transaction()
        await transaction.start()
        await locking.execute("LOCK TABLE worker_beats IN EXCLUSIVE MODE")

        async def is_dead() -> bool:
            return not lives(pid)

        await eventually(is_dead)
        waiting = await desk.submit()
        assert (await desk.job(waiting)).state.status is Status.QUEUED
        await transaction.rollback()
        await locking.close()
        await desk.ends(waiting)
        await desk.cancel(job_id, grace_seconds=0)
        await desk.ends(job_id)
