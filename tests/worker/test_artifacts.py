"""What a command leaves in its artifacts directory is kept before its outcome is told."""

import hashlib
import os
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import artifacts, shared_store
from reactorcide.tests.worker.artifacts_at_work import CD, left_by
from reactorcide.tests.worker.jobs_at_work import (
    Desk,
    eventually,
    working,
)
from reactorcide.worker.settings import WorkerSettings


@pytest.mark.parametrize("store_url", ["directory", "s3"], indirect=True)
async def test_a_completed_job_has_its_artifacts(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """As soon as it is completed: names, sizes, digests, contents; small ones and large ones."""
    async with working(database, settings):
        job_id = await desk.submit(
            CD + "mkdir -p a/b; printf one > a/b/ein\\ s.txt; : > empty; "
            "head -c 12000000 /dev/urandom > large; umask 777; echo hidden > 'ünï☃'"
        )
        job = await desk.ends(job_id)
        assert job.state.status is Status.COMPLETED, job.state.last_error
    found = await artifacts.list_of(desk.pool, job_id, None)
    names = {"a/b/ein s.txt": 3, "empty": 0, "large": 12_000_000}
    if os.geteuid() == 0:  # who may read everything
        names["ünï☃"] = 7
    assert {one.path: one.size for one in found} == names
    for one in found:
        content = await objects.read(one.object_key)
        assert len(content) == one.size
        assert hashlib.sha256(content).digest() == one.sha256
    assert await desk.pool.fetchval("SELECT count(*) FROM unfinished_objects") == 0


async def test_a_failed_attempt_has_artifacts_too(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """Each attempt its own; the latest that left any is shown."""
    async with working(database, settings):
        job_id = await desk.submit(
            CD + 'test "$REACTORCIDE_ATTEMPT" = 3 || touch "of-$REACTORCIDE_ATTEMPT"; exit 1',
            max_attempts=3,
            retry_backoff_seconds=0,
        )
        await desk.ends(job_id)
    assert await left_by(desk, job_id, 1) == {"of-1": 0}
    assert await left_by(desk, job_id) == {"of-2": 0}
    assert await left_by(desk, job_id, 3) == {}


async def test_an_empty_directory_costs_nothing(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """No row, no object, and the store is not even opened; nor when the directory is gone."""
    async with working(database, settings):
        for command in ("true", 'rmdir "$REACTORCIDE_ARTIFACTS_DIR"'):
            job = await desk.ends(await desk.submit(command))
            assert job.state.status is Status.COMPLETED
            assert await desk.log(job.job_id) == b""
    assert await objects.keys("jobs") == []
    assert await desk.pool.fetchval("SELECT count(*) FROM unfinished_objects") == 0


async def test_a_store_that_fails_fails_the_attempt(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """A command that said it succeeded but whose artifacts are lost did not; the worker lives on.

    Found at once here: the store is not even the one that the API reads.
    """
    await shared_store.announce(desk.pool, UUID(int=1))
    async with working(database, settings):
        job = await desk.ends(await desk.submit(CD + "touch a"))
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert "REACTORCIDE_OBJECT_STORE_URL" in (job.state.last_error or "")
        job = await desk.ends(await desk.submit(CD + "touch a; exit 3"))
        assert job.state.exit_code == 3
        assert (job.state.last_error or "").startswith("exit code 3; its artifacts could not be")
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_a_timed_out_command_leaves_what_it_had(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """And so does one that was cancelled."""
    async with working(database, settings):
        timed_out = await desk.submit(CD + "printf 1 > a; exec sleep 60", timeout_seconds=1)
        assert (await desk.ends(timed_out)).state.status is Status.TIMEOUT
        cancelled = await desk.submit(CD + "printf 1 > a; echo ready; exec sleep 60")
        await desk.prints(cancelled, b"ready")
        await desk.cancel(cancelled)
        assert (await desk.ends(cancelled)).state.status is Status.CANCELLED
    for job_id in (timed_out, cancelled):
        assert await left_by(desk, job_id) == {"a": 1}


async def test_ended_logs_go_into_the_store_by_themselves(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """By the worker, soon after; a small one a minute later. The outcome did not wait for it."""
    await shared_store.announce(desk.pool, await objects.identity())
    async with working(database, settings):
        job_ids = [await desk.submit(command) for command in ("seq 10000", "echo small")]
        for job_id in job_ids:
            await desk.ends(job_id)
        await desk.pool.execute("UPDATE log_chunks SET printed_at = printed_at - interval '1 min'")

        async def are_stored() -> bool:
            stored = await desk.pool.fetch("SELECT FROM log_objects")
            return len(stored) == len(job_ids)

        await eventually(are_stored)
        for job_id in job_ids:
            assert await desk.log(job_id) == b""
            assert len(await objects.keys(f"jobs/{job_id}")) == 1
