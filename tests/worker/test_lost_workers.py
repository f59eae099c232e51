"""A worker that is killed or stopped loses its jobs to others, and never runs them beside those."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.worker.jobs_at_work import Desk, eventually, lives, settings_for, working
from reactorcide.tests.worker.test_stopping import program
from reactorcide.worker.supervisor.supervision import SUPERVISORS

FIRST_STAYS: Final = """
if [ "$REACTORCIDE_ATTEMPT" = 1 ]; then
    {put_aside} /bin/sh -c 'echo $$ > {folder}/pid; exec /bin/sleep 300' {after}
    while :; do echo beside; sleep 0.05; done
fi
if kill -0 "$(cat {folder}/pid)" 2>/dev/null; then echo beside; else echo alone; fi"""
PUT_ASIDE: Final = ("(setsid nohup env -i", ">/dev/null 2>&1 &)")
"""The harder way: it leaves the session and forgets its environment."""

LEASE_SECONDS: Final = 3
FOLLOW: Final = ["claimed", "started", "lease_expired", "claimed", "started", "completed"]


async def _expired(desk: Desk) -> bool:
    await upkeep(desk.pool, desk.write)
    desk.doorbell.ring("jobs")
    return bool(
        await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'job.lease_expired'")
    )


async def pid_in(folder: Path) -> int:
    """Wait for the pid that the first attempt writes down."""

    async def written() -> str | None:
        file = folder / "pid"
        return file.read_text() if file.exists() else None

    return int(await eventually(written))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_next_attempt_runs_alone(
    database: Database,
    desk: Desk,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """And what the first worker says when it wakes up is refused."""
    with program(database.uri, tmp_path / "first", LEASE_SECONDS) as first:
        text = FIRST_STAYS.format(folder=tmp_path, put_aside=PUT_ASIDE[0], after=PUT_ASIDE[1])
        job_id = await desk.submit(text)
        pid = await pid_in(tmp_path)
        first.send_signal(number)

        async def is_dead() -> bool:
            return not lives(pid)

        if number is signal.SIGKILL:
            await eventually(is_dead, 5)
        async with working(database, settings_for(tmp_path, lease_seconds=LEASE_SECONDS)):
            await eventually(lambda: _expired(desk))
            assert not lives(pid)
            job = await desk.ends(job_id)
            before, log = await desk.names(job_id), await desk.log(job_id, 1)
            if number is signal.SIGSTOP:
                first.send_signal(signal.SIGCONT)
                first.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(first.wait, 15) == 0
        assert (job.state.status, job.state.attempt) == (Status.COMPLETED, 2)
        assert await desk.log(job_id, 2) == b"alone\n"
        assert await desk.log(job_id, 1) == log
        assert await desk.names(job_id) == before
        assert before[1:] == FOLLOW


async def test_a_killed_supervisor_fails_the_attempt_and_not_the_worker(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The reason is clear, what was printed is kept, the next job runs."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("echo $$; exec sleep 300")
        pid = int(await desk.prints(job_id, b"\n"))
        (supervisor,) = SUPERVISORS
        os.kill(supervisor, signal.SIGKILL)
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert "supervisor" in (job.state.last_error or "")
        assert not lives(pid)
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_a_workers_end_is_its_supervisors(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It is gone before the worker is."""
    async with working(database, settings_for(tmp_path)) as at_work:
        await desk.ends(await desk.submit())
        (supervisor,) = SUPERVISORS
        at_work.stop.set()
        await at_work.task
        assert not lives(supervisor)
