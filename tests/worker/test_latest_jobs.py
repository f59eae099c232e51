"""Where a look from the top is dear: what came lately is claimed without one, all else soon."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import JobState, Released, Status
from reactorcide.eventstore.ids import new_id
from reactorcide.projections.job_suggestions import Suggested
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    call_of,
    claimed,
    claimed_all,
    eventually,
    settings_for,
    working,
)
from reactorcide.worker import claim_scan
from reactorcide.worker.coordinator import CoordinatorUnavailable
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.latest_jobs import LatestJobs

_TIME_BITS = 80
TIMES = st.integers(1_600_000_000_000, 1_900_000_000_000)
NOISE = st.integers(0, (1 << _TIME_BITS) - 1)
CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'WITH chosen%'"""


def job(priority: int, job_id: UUID, queue: str = "default") -> Suggested:
    """Return a job as a claim has it."""
    submitted = call_of("any", priority=priority, queue_name=queue)
    return Suggested(job_id, 1, JobState(Status.QUEUED, submitted), None)


@pytest.fixture
def _dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call every look from the top dear."""
    monkeypatch.setattr(claim_scan, "DEAR_SECONDS", 0.0)


@pytest.fixture
def _seldom(monkeypatch: pytest.MonkeyPatch, _dear: None) -> None:
    """And have only the first be made."""
    monkeypatch.setattr(claim_scan, "_ANEW_SECONDS", 3600.0)


async def look_twice(*workers: DirectCoordinator) -> None:
    """Have workers find that looks are dear: one might be so by chance."""
    for worker in workers * 2:
        await worker.claim(1)


@given(TIMES, NOISE, NOISE, st.integers(0, 499))
def test_whose_id_is_a_little_older_is_not_passed_over(
    at: int, noise: int, other: int, earlier: int
) -> None:
    """Half a second: clocks differ, and what has its id first may be in the table last."""
    latest = LatestJobs()
    newest = UUID(int=(at << _TIME_BITS) | noise)
    latest.learn([job(0, newest)])
    (after,) = latest.begin().after
    assert after < UUID(int=((at - earlier) << _TIME_BITS) | other)
    assert after < newest


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(-2, 2)), max_size=20))
def test_the_newest_of_each_queue_and_priority_counts(kinds: list[tuple[str, int]]) -> None:
    """In whatever order they are learned."""
    latest, reverse = LatestJobs(), LatestJobs()
    jobs = [job(priority, new_id(), queue) for queue, priority in kinds]
    latest.learn(jobs)
    reverse.learn(reversed(jobs))
    queues, priorities, after = latest.begin()
    assert bool(latest) == bool(kinds)
    assert set(zip(queues, priorities, strict=True)) == set(kinds)
    assert len(after) == len(set(kinds))
    assert sorted(zip(*latest.begin(), strict=True)) == sorted(zip(*reverse.begin(), strict=True))


def test_no_more_kinds_are_kept_than_are_worth_a_probe() -> None:
    """All are forgotten then, and a look from the top begins anew."""
    latest = LatestJobs()
    latest.learn([job(priority, new_id()) for priority in range(64)])
    assert latest
    latest.learn([job(64, new_id())])
    assert not latest


@pytest.mark.usefixtures("_seldom")
async def test_what_came_lately_is_claimed_the_best_first(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Of what priorities were seen; another one waits for a look, and that is announced."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        await look_twice(worker)
        first = [await desk.submit(), await desk.submit(priority=5)]
        assert await claimed(worker) == (first[::-1], False)
        assert await worker.next_due_seconds() is None
        usual = [await desk.submit(), await desk.submit()]
        better = [await desk.submit(priority=5), await desk.submit(priority=5)]
        assert await claimed(worker, 3) == ([*better, usual[0]], True)
        unseen = await desk.submit(priority=7)
        assert await claimed(worker) == ([usual[1]], False)
        assert await claimed(worker) == ([], False)
        due = await worker.next_due_seconds()
        assert due is not None
        assert 3000 < due <= 3600
        assert await desk.names(unseen) == ["submitted"]


@pytest.mark.usefixtures("_dear")
async def test_what_was_passed_over_is_found_soon(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Unseen priorities, second attempts and what is due, by a worker that nobody rings for."""
    settings = settings_for(tmp_path, poll_seconds=3600.0)
    async with open_coordinator(settings, database, SEALER) as one:
        released = await desk.submit()
        (attempt,) = (await one.claim(1)).attempts
        await one.finish(attempt.key, Released("not now"))
    async with working(database, settings):
        ids = [released]
        for priority in (0, 5, 0, -5, 7):
            ids.append(await desk.submit(priority=priority))
            retry = await desk.submit(max_attempts=2, rings=False)
            await desk.pool.execute(
                "UPDATE jobs SET available_at = now() + $2 WHERE job_id = $1 AND status = 'queued'",
                retry,
                timedelta(seconds=0.05),
            )
            ids.append(retry)

        async def have_ended() -> bool:
            return [(await desk.job(one)).state.status for one in ids] == ["completed"] * len(ids)

        await eventually(have_ended)


@pytest.mark.usefixtures("_dear")
async def test_a_look_that_failed_is_made_again(
    database: Database, connection: Connection, desk: Desk, tmp_path: Path
) -> None:
    """When the connection broke under it, what was passed over still is."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        await look_twice(worker)
        first = await desk.submit()
        assert await claimed(worker) == ([first], False)
        usual = await desk.submit()
        unseen = await desk.submit(priority=7)
        assert await claimed(worker, 1) == ([usual], True)

        async def is_due() -> bool:
            return await worker.next_due_seconds() == 0

        await eventually(is_due)
        assert await connection.fetchval(CUT) == 1
        with pytest.raises(CoordinatorUnavailable):
            await claimed(worker)
        assert await worker.next_due_seconds() == 0
        assert await claimed(worker) == ([unseen], False)


@pytest.mark.usefixtures("_dear")
@pytest.mark.parametrize("slots", [1, 7])
async def test_each_job_is_claimed_once_by_many(
    database: Database, desk: Desk, tmp_path: Path, slots: int
) -> None:
    """Workers that look, and that claim what came lately."""
    ids: list[UUID] = []
    seen: list[UUID] = []

    async with (
        open_coordinator(settings_for(tmp_path), database, SEALER) as one,
        open_coordinator(settings_for(tmp_path), database, SEALER) as two,
        open_coordinator(settings_for(tmp_path), database, SEALER) as three,
    ):
        await look_twice(one, two, three)
        for turn in range(4):
            ids += [await desk.submit(priority=turn % 2) for _ in range(10)]
            await asyncio.gather(*(claimed_all(each, slots, seen) for each in (one, two, three)))

        async def are_all_claimed() -> bool:
            await claimed_all(one, slots, seen)
            return len(seen) >= len(ids)

        await eventually(are_all_claimed)
    assert sorted(seen) == sorted(ids)
