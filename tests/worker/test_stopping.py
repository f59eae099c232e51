"""A worker that is told to stop ends in good order, and leaves nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, eventually, lives, settings_for, working


async def test_what_runs_may_end_while_the_worker_drains(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """And nothing new is taken meanwhile."""
    async with working(database, settings_for(tmp_path, concurrency=2)) as at_work:
        job_id = await desk.submit("echo ready; while [ ! -f go ]; do sleep 0.01; done")
        await desk.prints(job_id, b"ready")
        at_work.stop.set()
        await eventually(lambda: _is_draining(desk))
        later = await desk.submit()
        (src,) = (tmp_path / "workspaces").glob("*/job/src")
        (src / "go").touch()
        assert (await desk.ends(job_id)).state.status is Status.COMPLETED
        await at_work.task
        assert (await desk.job(later)).state.status is Status.QUEUED


async def test_what_does_not_end_in_time_is_released(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It is queued again at once, and the attempt does not count as a failure."""
    async with working(database, settings_for(tmp_path, drain_seconds=0.1)) as at_work:
        job_id = await desk.submit("echo $$; exec sleep 60")
        pid = int(await desk.prints(job_id, b"\n"))
        at_work.stop.set()
        await at_work.task
        job = await desk.job(job_id)
        assert (job.state.status, job.state.failures) == (Status.QUEUED, 0)
        assert (await desk.names(job_id))[-1] == "released"
        assert not lives(pid)
    async with working(database, settings_for(tmp_path, drain_seconds=0.1)):
        await desk.becomes(job_id, Status.RUNNING)
    assert (await desk.names(job_id))[-3:] == ["claimed", "started", "released"]


async def test_a_second_signal_does_not_wait(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Neither for draining nor for a command that ignores TERM."""
    settings = settings_for(tmp_path, drain_seconds=600, grace_seconds=600)
    async with working(database, settings) as at_work:
        job_id = await desk.submit("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        await desk.prints(job_id, b"ready")
        at_work.stop.set()
        at_work.worker.release()
        async with asyncio.timeout(30):
            await at_work.task
        assert (await desk.names(job_id))[-1] == "released"


async def test_no_task_is_left_after_a_worker(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Every task has an owner that ends it."""
    before = asyncio.all_tasks()
    async with working(database, settings_for(tmp_path, concurrency=4)):
        for job_id in [await desk.submit() for _ in range(8)]:
            await desk.ends(job_id)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


async def test_a_cancelled_worker_leaves_no_command(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Torn down without draining, it still kills what it started and removes its directories."""
    async with working(database, settings_for(tmp_path)) as at_work:
        job_id = await desk.submit("echo $$; exec sleep 60")
        pid = int(await desk.prints(job_id, b"\n"))
        at_work.task.cancel()
        await asyncio.wait([at_work.task])
        assert not lives(pid)
        assert not list((tmp_path / "workspaces").iterdir())


@contextmanager
def program(
    uri: str, data_dir: Path, lease_seconds: float = 15
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker as a program."""
    started = subprocess.Popen(
        [sys.executable, "-m", "reactorcide.cli.main", "worker", "--concurrency", "2"],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "PYTHONPATH": ".ns",
            "REACTORCIDE_DB_URI": uri,
            "REACTORCIDE_DATA_DIR": str(data_dir),
            "REACTORCIDE_LEASE_SECONDS": str(lease_seconds),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


async def test_sigterm_ends_the_program_with_0_and_nothing_left(
    database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """No put-aside child, no directory; what ran could end, what waits is left alone."""
    with program(database_uri, tmp_path) as worker:
        job_id = await desk.submit(
            "setsid sh -c 'echo $$; exec sleep 60' & while [ ! -f go ]; do sleep 0.01; done"
        )
        pid = int(await desk.prints(job_id, b"\n"))
        worker.send_signal(signal.SIGTERM)
        await eventually(lambda: _is_draining(desk))
        (src,) = (tmp_path / "workspaces").glob("*/job/src")
        (src / "go").touch()
        assert await asyncio.to_thread(worker.wait, 10) == 0
    assert not lives(pid)
    assert not list((tmp_path / "workspaces").iterdir())
    assert (await desk.job(job_id)).state.status is Status.COMPLETED
    assert await desk.pool.fetchval("SELECT status FROM workers") == "stopped"


async def test_two_sigterms_end_the_program_at_once(
    database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """However long it was to drain."""
    with program(database_uri, tmp_path) as worker:
        job_id = await desk.submit("trap '' TERM; echo $$; while :; do sleep 0.01; done")
        pid = int(await desk.prints(job_id, b"\n"))
        worker.send_signal(signal.SIGTERM)
        await eventually(lambda: _is_draining(desk))
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 10) == 0
    assert not lives(pid)
    assert (await desk.names(job_id))[-1] == "released"


async def _is_draining(desk: Desk) -> bool:
    sql = "SELECT count(*) FROM workers WHERE status = 'draining'"
    return bool(await desk.pool.fetchval(sql))
