"""What waits long is taken though better comes in all the time, and no more than its share."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.handler_bench import HANDLERS
from reactorcide.tests.worker.jobs_at_work import (
    AtWork,
    Desk,
    call_of,
    eventually,
    settings_for,
    working,
)
from reactorcide.worker.ageing import Ageing, oldest_id_since

QUEUED = "SELECT count(*) FROM jobs WHERE status = 'queued' AND priority = 5"
CLAIMED = """
SELECT stream_id FROM events WHERE type = 'job.claimed' ORDER BY position OFFSET $1"""


@given(st.lists(st.integers(-1000, 1000), min_size=9, max_size=9))
def test_one_look_in_ten_goes_by_age(priorities: list[int]) -> None:
    """After nine by priority; behind the last of them."""
    ageing = Ageing()
    for priority in priorities:
        assert not ageing.is_due(0)
        ageing.served(priority)
    assert ageing.is_due(0)
    assert ageing.priority == priorities[-1]
    ageing.looked(0, 0.1, has_found=True)
    assert not ageing.is_due(0)


@given(st.floats(0, 10))
def test_where_nothing_waits_it_is_seldom_asked(seconds: float) -> None:
    """A second later at the earliest; later where asking takes long."""
    ageing = Ageing()
    for _ in range(9):
        ageing.served(0)
    ageing.looked(100, seconds, has_found=False)
    limit = max(1.0, seconds * 20)
    assert not ageing.is_due(100 + limit * 0.9)
    assert ageing.is_due(100 + limit * 1.1)


@given(st.integers(0, 8))
def test_what_was_emptied_need_not_be_asked(turns: int) -> None:
    """Nothing waits behind a look that took all there was, so the turns begin anew."""
    ageing = Ageing()
    for _ in range(9):
        ageing.served(0)
    ageing.emptied()
    for _ in range(turns):
        ageing.served(0)
    assert not ageing.is_due(0)


def test_ids_are_compared_by_their_time() -> None:
    """A job's id is less than that of a later time, and not less than that of an earlier."""
    before = oldest_id_since(time.time() - 1)
    job_id = UUID(bytes=new_id().bytes)
    assert before <= job_id < oldest_id_since(time.time() + 1)


async def test_a_job_of_low_priority_runs_while_others_keep_coming(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """There are better ones in the queue all the time; it gets its turn, and a retry as well."""
    low = await desk.call("test.short", priority=-5)
    settings = settings_for(tmp_path, ageing_seconds=0.5, concurrency=3)
    await desk.submit_many([call_of("test.short", priority=5)] * 60)
    async with working(database, settings, HANDLERS) as at_work:
        feeding = asyncio.create_task(_feed(desk))
        try:
            retried = await desk.call(
                "test.fail", priority=-9, max_attempts=2, retry_backoff_seconds=0
            )
            await eventually(lambda: _has_ended(desk, low))
            await eventually(lambda: _has_ended(desk, retried))
            assert await desk.pool.fetchval(QUEUED) > 20
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        at_work.task.cancel()


async def test_what_waits_long_gets_no_more_than_its_share(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """One look in ten, however much of it there is."""
    low = set(await desk.submit_many([call_of("test.short", priority=-5)] * 60))
    await desk.submit_many([call_of("test.short", priority=5)] * 60)
    settings = settings_for(tmp_path, ageing_seconds=0, concurrency=2)
    async with working(database, settings, HANDLERS) as at_work:
        feeding = asyncio.create_task(_feed(desk))
        try:
            await eventually(lambda: _has_claimed(desk, at_work, 40))
            claimed = [row[0] for row in await desk.pool.fetch(CLAIMED, 0)]
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        at_work.task.cancel()
    assert 1 <= len(low.intersection(claimed)) <= len(claimed) / 4


async def _feed(desk: Desk) -> None:
    """Keep better jobs in the queue."""
    while True:
        if await desk.pool.fetchval(QUEUED) < 60:
            await desk.submit_many([call_of("test.short", priority=5)] * 60)
        await asyncio.sleep(0.05)


async def _has_ended(desk: Desk, job_id: UUID) -> bool:
    return (await desk.job(job_id)).completed_at is not None


async def _has_claimed(desk: Desk, _at_work: AtWork, count: int) -> bool:
    return len(await desk.pool.fetch(CLAIMED, count - 1)) > 0
