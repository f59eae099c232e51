"""A worker takes what it may when its time has come, the best first, as far as it has slots."""

from pathlib import Path

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working


async def test_a_worker_takes_from_its_queues_only(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """From all of them, and leaves the others alone."""
    async with working(database, settings_for(tmp_path, queues=("red", "blue"))):
        foreign = await desk.submit(queue_name="green")
        for queue in ("red", "blue"):
            job = await desk.ends(await desk.submit(queue_name=queue))
            assert job.state.status is Status.COMPLETED
        assert (await desk.job(foreign)).state.status is Status.QUEUED


async def test_a_worker_takes_a_job_only_with_all_its_labels(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It may carry more than the job asks for."""
    async with working(database, settings_for(tmp_path, labels={"os": "linux", "gpu": "no"})):
        other = await desk.submit(labels={"os": "linux", "gpu": "yes"})
        fitting = await desk.ends(await desk.submit(labels={"os": "linux"}))
        assert fitting.state.status is Status.COMPLETED
        assert (await desk.job(other)).state.status is Status.QUEUED


async def test_no_more_commands_run_than_there_are_slots(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Though all slots are used."""
    marks = tmp_path / "marks"
    marks.mkdir()
    text = f"touch {marks}/$$; ls {marks} | wc -l; sleep 0.1; rm {marks}/$$"
    async with working(database, settings_for(tmp_path, concurrency=3)):
        ids = [await desk.submit(text) for _ in range(12)]
        for job_id in ids:
            await desk.ends(job_id)
        seen = [int(await desk.log(job_id)) for job_id in ids]
    assert max(seen) == 3


async def test_the_best_priority_goes_first_and_then_the_oldest(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Whatever the order of submission."""
    submitted = [(await desk.submit(priority=priority), priority) for priority in (0, 5, -1, 5, 0)]
    async with working(database, settings_for(tmp_path)):
        for job_id, _ in submitted:
            await desk.ends(job_id)
    rows = await desk.pool.fetch("SELECT job_id FROM jobs ORDER BY claimed_at")
    expected = sorted(submitted, key=lambda one: (-one[1], one[0]))
    assert [row["job_id"] for row in rows] == [job_id for job_id, _ in expected]


async def test_a_job_that_waits_for_its_time_runs_when_it_comes(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """A retry is taken when its wait is over, with no ring and long before the next poll."""
    async with working(database, settings_for(tmp_path, poll_seconds=60)):
        job_id = await desk.submit("exit 1", max_attempts=2, retry_backoff_seconds=0.5)
        job = await desk.ends(job_id)
        assert job.state.attempt == 2


async def test_a_lost_ring_delays_a_job_and_never_loses_it(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The worker looks by itself every now and then."""
    async with working(database, settings_for(tmp_path, poll_seconds=0.2)) as at_work:
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED
        for _ in range(3):
            job_id = await desk.submit(rings=False)
            assert (await desk.ends(job_id)).state.status is Status.COMPLETED
        assert not at_work.task.done()
