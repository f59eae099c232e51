"""An attempt is stopped when asked or out of time, and one that failed is followed by another."""

from pathlib import Path

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, eventually, settings_for, working


async def test_a_running_command_is_stopped_on_request(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It gets TERM, and its job is cancelled with the exit code it ended with."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
        await desk.prints(job_id, b"ready")
        await desk.cancel(job_id)
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.CANCELLED, 7)


async def test_a_cancel_is_heard_without_a_ring(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """By the next beat."""
    async with working(database, settings_for(tmp_path, lease_seconds=1.5)):
        job_id = await desk.submit("echo ready; exec sleep 60")
        await desk.prints(job_id, b"ready")
        await desk.cancel(job_id, rings=False)
        assert (await desk.ends(job_id)).state.status is Status.CANCELLED


async def test_a_killed_job_gets_no_grace(database: Database, desk: Desk, tmp_path: Path) -> None:
    """Also one that would not listen to TERM."""
    async with working(database, settings_for(tmp_path, grace_seconds=60)):
        job_id = await desk.submit("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        await desk.prints(job_id, b"ready")
        await desk.cancel(job_id, grace_seconds=0)
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.CANCELLED, 137)


async def test_a_command_may_not_run_longer_than_its_timeout(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Then it is stopped, and what it printed is kept."""
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(await desk.submit("echo begun; exec sleep 60", timeout_seconds=1))
        assert (job.state.status, job.state.exit_code) == (Status.TIMEOUT, 143)
        assert await desk.log(job.job_id) == b"begun\n"


async def test_a_failed_attempt_is_followed_by_another(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Until one completes; each has its own log and a fresh workspace."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit(
            'echo "attempt $REACTORCIDE_ATTEMPT"; test ! -e left && touch left '
            '&& test "$REACTORCIDE_ATTEMPT" = 3',
            max_attempts=5,
            retry_backoff_seconds=0.01,
        )
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.attempt, job.state.failures) == (Status.COMPLETED, 3, 2)
        assert [await desk.log(job_id, attempt) for attempt in (1, 2, 3)] == [
            b"attempt 1\n",
            b"attempt 2\n",
            b"attempt 3\n",
        ]


async def test_the_last_failed_attempt_fails_the_job(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Once as many as max_attempts have failed."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("exit 1", max_attempts=2, retry_backoff_seconds=0)
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.attempt) == (Status.FAILED, 2)
        assert (await desk.names(job_id)).count("retry_scheduled") == 1


async def test_a_job_that_is_cancelled_between_two_attempts_is_not_tried_again(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """At once, and for good: nothing runs that would have to be stopped."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("echo tried; exit 3", max_attempts=3, retry_backoff_seconds=3600)

        async def waits() -> bool:
            return "retry_scheduled" in await desk.names(job_id)

        await eventually(waits)
        await desk.cancel(job_id)
        job = await desk.job(job_id)
        assert (job.state.status, job.state.attempt) == (Status.CANCELLED, 1)
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED
        assert (await desk.job(job_id)).state.attempt == 1
        assert await desk.log(job_id) == b"tried\n"
