"""However workers are stopped, and whatever handlers do about it: jobs go back and none fails."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker import handlers_at_work
from reactorcide.tests.worker.handler_bench import HANDLERS
from reactorcide.tests.worker.handlers_at_work import GO
from reactorcide.tests.worker.jobs_at_work import (
    AtWork,
    Desk,
    call_of,
    eventually,
    request,
    settings_for,
    working,
)


@pytest.fixture(autouse=True)
def undying_end() -> Iterator[None]:
    """Let what never ends do so after the test."""
    GO.clear()
    yield
    GO.set()


async def test_a_handler_that_holds_back_every_cancellation_holds_up_no_drain(
    database: Database, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker ends in time all the same, and its last act is to release the job."""
    monkeypatch.setattr("reactorcide.worker.worker._STUCK_SECONDS", 0.2)
    monkeypatch.setattr("reactorcide.worker.handling._LAST_CANCELLATIONS", 2)
    settings = settings_for(tmp_path, drain_seconds=0.1, grace_seconds=0.2)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.undying")
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        async with asyncio.timeout(30):
            await at_work.task
    job = await desk.job(job_id)
    assert (job.state.status, job.state.failures, job.state.lost_leases) == (Status.QUEUED, 0, 0)
    assert (await desk.names(job_id))[-1] == "released"
    GO.set()


async def test_what_was_cancelled_by_somebody_is_not_released(
    database: Database, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that ignores its cancellation is cancelled when its worker ends."""
    monkeypatch.setattr("reactorcide.worker.worker._STUCK_SECONDS", 0.2)
    monkeypatch.setattr("reactorcide.worker.handling._LAST_CANCELLATIONS", 2)
    settings = settings_for(tmp_path, drain_seconds=0.1, grace_seconds=0.2)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.undying")
        await desk.becomes(job_id, Status.RUNNING)
        await desk.cancel(job_id, grace_seconds=0)
        at_work.stop.set()
        async with asyncio.timeout(30):
            await at_work.task
    assert (await desk.job(job_id)).state.status is Status.CANCELLED
    GO.set()


@contextmanager
def program(uri: str, data_dir: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker as a program."""
    words = [sys.executable, "-m", "reactorcide.cli.main", "worker", "--concurrency", "2", *options]
    own = {"REACTORCIDE_DB_URI": uri, "REACTORCIDE_DATA_DIR": str(data_dir), "PYTHONPATH": ".ns"}
    with subprocess.Popen(
        words,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


async def test_a_program_with_an_undying_handler_ends_with_0(
    database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """At the second signal, within some seconds."""
    handlers = str(Path(handlers_at_work.__file__))
    with program(database_uri, tmp_path, "--handlers", handlers) as worker:
        job_id = await desk.call("test.undying")
        await desk.becomes(job_id, Status.RUNNING)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(worker.wait, 30) == 0
    assert (await desk.names(job_id))[-1] == "released"


async def test_a_program_may_be_told_not_to_wait(
    database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """--drain-seconds 0: TERM at once; what obeys it is released at once."""
    with program(database_uri, tmp_path, "--drain-seconds", "0") as worker:
        job_id = await desk.submit("exec sleep 60")
        await desk.becomes(job_id, Status.RUNNING)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
    assert (await desk.names(job_id))[-1] == "released"


async def _holds_some(desk: Desk, at_work: AtWork) -> bool:
    sql = "SELECT count(*) FROM jobs WHERE status = 'running' AND worker_id = $1"
    return bool(await desk.pool.fetchval(sql, at_work.coordinator.worker_id))


async def test_rolling_restarts_fail_no_job(database: Database, desk: Desk, tmp_path: Path) -> None:
    """Five generations of workers, each stopped amid its work: every job completes in the end."""
    requests = [request("sleep 0.15"), call_of("test.short")] * 15
    ids = await desk.submit_many(requests)
    settings = settings_for(tmp_path, drain_seconds=0.02, concurrency=3)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            async with working(database, settings, HANDLERS) as at_work:
                await eventually(lambda: _holds_some(desk, at_work))
        await stack.enter_async_context(working(database, settings, HANDLERS))
        for job_id in ids:
            job = await desk.ends(job_id)
            assert (job.state.status, job.state.failures, job.state.lost_leases) == (
                Status.COMPLETED,
                0,
                0,
            )
    released = await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'job.released'")
    assert released > 0
