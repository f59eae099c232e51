"""Handlers that are to stop: asked to, out of time, or because their worker ends."""

import asyncio
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.handler_bench import HANDLERS, called
from reactorcide.tests.worker.handlers_at_work import CALLED, GO
from reactorcide.tests.worker.jobs_at_work import AtWork, Desk, eventually, settings_for, working
from reactorcide.worker.coordinator import Claim

pytestmark = pytest.mark.usefixtures("fresh_handlers", "lines")


@pytest.mark.usefixtures("at_work")
async def test_a_running_handler_is_cancelled_on_request(desk: Desk) -> None:
    """Inside it that is a CancelledError; what it logs then is kept, and its job is cancelled."""
    job_id = await desk.call("test.forever")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id)
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.exit_code) == (Status.CANCELLED, None)
    assert await desk.log(job_id) == b"info: waiting\ninfo: cleaning up\n"
    assert (await desk.names(job_id))[-2:] == ["cancel_requested", "cancelled"]


@pytest.mark.usefixtures("at_work")
async def test_a_function_in_a_thread_may_see_that_it_should_stop(desk: Desk) -> None:
    """By its attempt's `is_cancelled`."""
    job_id = await desk.call("test.polite")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED
    assert await desk.log(job_id) == b"info: waiting\ninfo: stopping\n"


@pytest.mark.usefixtures("at_work")
async def test_a_kill_cancels_once_more(desk: Desk) -> None:
    """A handler that held back its first cancellation gets another."""
    job_id = await desk.call("test.deaf")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id, grace_seconds=600)
    await called("cancelled")
    assert (await desk.job(job_id)).state.status is Status.RUNNING
    await desk.cancel(job_id, grace_seconds=0)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED
    assert CALLED == ["called", "cancelled", "cancelled again"]


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_is_killed_at_once_may_not_hold_that_back(desk: Desk) -> None:
    """There is no first cancellation that could be all it ever gets."""
    job_id = await desk.call("test.deaf")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id, grace_seconds=0)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED


@pytest.mark.usefixtures("at_work")
async def test_a_handler_may_not_run_longer_than_its_timeout(desk: Desk) -> None:
    """Then it is cancelled, once more after its grace; a thread that won't stop is left behind."""
    names = ("test.forever", "test.deaf", "test.polite", "test.stubborn")
    ids = {name: await desk.call(name, timeout_seconds=1) for name in names}
    for name, job_id in ids.items():
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.TIMEOUT, None), name
        assert job.state.last_error == "ran longer than 1 s", name


async def test_a_handler_that_can_still_retry_is_tried_again_after_a_timeout(
    desk: Desk, at_work: AtWork
) -> None:
    """A timeout counts as a failure, and the worker goes on."""
    job_id = await desk.call(
        "test.until", timeout_seconds=1, max_attempts=2, retry_backoff_seconds=0.01
    )

    async def is_second() -> bool:
        return len(CALLED) == 2

    await eventually(is_second)
    GO.set()
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt, job.state.failures) == (Status.COMPLETED, 2, 1)
    assert not at_work.task.done()


async def test_a_retry_that_falls_due_just_after_a_look_is_not_slept_over(
    database: Database, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody rings for it, and the question what is due next comes when it is due already."""
    async with working(database, settings_for(tmp_path, poll_seconds=3600), HANDLERS) as at_work:
        claim = at_work.coordinator.claim

        async def claim_too_early(slots: int, *, is_woken: bool = False) -> Claim:
            found = await claim(slots, is_woken=is_woken)
            await desk.pool.execute(
                "UPDATE jobs SET available_at = clock_timestamp()"
                " WHERE status = 'queued' AND available_at IS NOT NULL"
            )
            return found

        monkeypatch.setattr(at_work.coordinator, "claim", claim_too_early)
        job_id = await desk.call("test.fail", "no", max_attempts=2, retry_backoff_seconds=600)
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.attempt) == (Status.FAILED, 2)


async def test_a_handler_that_does_not_end_while_draining_is_released(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Its job is queued again, and the attempt does not count as a failure."""
    settings = settings_for(tmp_path, drain_seconds=0.1)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.forever")
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        await at_work.task
        job = await desk.job(job_id)
        assert (job.state.status, job.state.failures) == (Status.QUEUED, 0)
        assert (await desk.names(job_id))[-1] == "released"
        assert await desk.log(job_id) == b"info: waiting\ninfo: cleaning up\n"


async def test_a_handler_may_end_while_the_worker_drains(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Nothing new is taken meanwhile."""
    async with working(database, settings_for(tmp_path, concurrency=2), HANDLERS) as at_work:
        job_id = await desk.call("test.until", 1)
        await called(1)
        at_work.stop.set()

        async def is_draining() -> bool:
            sql = "SELECT count(*) FROM workers WHERE status = 'draining'"
            return bool(await desk.pool.fetchval(sql))

        await eventually(is_draining)
        later = await desk.call("test.nothing")
        GO.set()
        await at_work.task
        assert (await desk.job(job_id)).state.status is Status.COMPLETED
        assert (await desk.job(later)).state.status is Status.QUEUED


@pytest.mark.parametrize("name", ["test.forever", "test.deaf", "test.stubborn"])
async def test_a_second_signal_does_not_wait(
    database: Database, desk: Desk, tmp_path: Path, name: str
) -> None:
    """Neither for draining nor for a handler that holds back its first cancellation."""
    settings = settings_for(tmp_path, drain_seconds=600, grace_seconds=600)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call(name)
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        at_work.worker.release()
        async with asyncio.timeout(30):
            await at_work.task
        assert (await desk.names(job_id))[-1] == "released"


async def test_a_drain_does_not_wait_for_a_handler_that_won_t_obey_at_first(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """After its grace it is cancelled once more, without another signal."""
    settings = settings_for(tmp_path, drain_seconds=0.1, grace_seconds=0.2)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.deaf")
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        async with asyncio.timeout(30):
            await at_work.task
        assert (await desk.names(job_id))[-1] == "released"


async def test_no_task_is_left_after_handlers(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Nor of a worker that is torn down while they run."""
    before = asyncio.all_tasks()
    async with working(database, settings_for(tmp_path, concurrency=4), HANDLERS) as at_work:
        for job_id in [await desk.call("test.fail", "no") for _ in range(8)]:
            await desk.ends(job_id)
        for name in ("test.forever", "test.deaf"):
            await desk.becomes(await desk.call(name), Status.RUNNING)
        at_work.task.cancel()
        await asyncio.wait([at_work.task])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
