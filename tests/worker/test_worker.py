"""A worker takes jobs, runs them, and says truly what became of them."""

import asyncio
import contextlib
from pathlib import Path
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database, DatabaseUnavailable
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, eventually, settings_for, working


async def test_a_job_runs_from_submit_to_completed(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Each step is a fact, the output is there, and the workspace is not."""
    async with working(database, settings_for(tmp_path)) as at_work:
        job = await desk.ends(await desk.submit("echo hello; pwd; touch left"))
        assert await desk.names(job.job_id) == [
            "submitted",
            "claimed",
            "started",
            "completed",
        ]
        assert (job.state.exit_code, job.state.attempt) == (0, 1)
        assert job.state.worker_id == at_work.coordinator.worker_id
        log = await desk.log(job.job_id)
        assert log.startswith(b"hello\n")
        assert log.endswith(b"/job/src\n")
    assert not list((tmp_path / "workspaces").iterdir())


async def test_a_failing_command_fails_its_job(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """With its exit code; one killed by signal n has 128 + n."""
    async with working(database, settings_for(tmp_path, concurrency=2)):
        first, second = await desk.submit("exit 3"), await desk.submit("kill -9 $$")
        for job_id, code, words in ((first, 3, "exit code 3"), (second, 137, "SIGKILL")):
            job = await desk.ends(job_id)
            assert (job.state.status, job.state.exit_code) == (Status.FAILED, code)
            assert words in (job.state.last_error or "")


async def test_the_log_is_readable_while_the_command_runs(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Numbered from 1 without gaps, both streams."""
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("echo one; echo two >&2; while [ ! -f go ]; do sleep 0.01; done")
        await desk.prints(job_id, b"two\n")
        assert (await desk.job(job_id)).state.status is Status.RUNNING
        (go,) = (tmp_path / "workspaces").glob("*/job/src")
        (go / "go").touch()
        await desk.ends(job_id)
        rows = await desk.pool.fetch(
            "SELECT seq, stream FROM log_chunks WHERE job_id = $1 ORDER BY seq", job_id
        )
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["stream"] for row in rows} == {"stdout", "stderr"}


async def test_the_environment_describes_the_job_and_nothing_else(
    database: Database, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the job asked for is in it; what the worker has is not."""
    monkeypatch.setenv("REACTORCIDE_DB_URI", "postgresql://secret")
    async with working(database, settings_for(tmp_path)) as at_work:
        job_id = await desk.submit(
            "env", job_env_vars={"GREETING": "hi", "REACTORCIDE_ATTEMPT": "99"}
        )
        await desk.ends(job_id)
        lines = (await desk.log(job_id)).decode().splitlines()
        found = dict(line.split("=", 1) for line in lines)
    assert found["REACTORCIDE_JOB_ID"] == str(job_id)
    assert found["REACTORCIDE_ATTEMPT"] == "1"
    assert found["REACTORCIDE_WORKER_ID"] == str(at_work.coordinator.worker_id)
    assert found["REACTORCIDE_QUEUE"] == "default"
    assert (found["GREETING"], found["LANG"]) == ("hi", "C.UTF-8")
    assert found["REACTORCIDE_ARTIFACTS_DIR"].startswith(found["HOME"])
    assert "REACTORCIDE_DB_URI" not in found


async def test_secrets_are_opened_for_the_command_and_masked_in_its_log(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The value itself is nowhere in the database."""
    async with working(database, settings_for(tmp_path)):
        sealed = {"PASSWORD": SEALER.seal("hunter2", "PASSWORD")}
        job_id = await desk.submit(
            'printf "%s %s" "$PASSWORD" ${#PASSWORD}', sealed_env_vars=sealed
        )
        await desk.ends(job_id)
        assert await desk.log(job_id) == b"*** 7"


async def test_a_secret_that_cannot_be_opened_fails_the_attempt(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """By name, without an exit code, and the worker lives on."""
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(await desk.submit(sealed_env_vars={"PASSWORD": "v1.nokey.AAAA"}))
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert "PASSWORD" in (job.state.last_error or "")
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_a_long_command_runs_as_well(database: Database, desk: Desk, tmp_path: Path) -> None:
    """As long as one may be submitted: longer than an argument may be."""
    async with working(database, settings_for(tmp_path)):
        text = "echo ok; exit 4 #" + "x" * 131_000
        job = await desk.ends(await desk.submit(text))
        assert (job.state.exit_code, await desk.log(job.job_id)) == (4, b"ok\n")


async def test_what_could_not_be_prepared_fails_clearly(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Exit code null, a reason, and the worker lives on."""
    async with working(database, settings_for(tmp_path)):
        for fields, words in (
            ({"source_type": "copy", "source_path": "/etc"}, "not below a directory"),
            ({"job_env_file": "missing.env"}, "missing.env"),
            ({"source_type": "git", "git_url": "file:///nowhere"}, "not below a directory"),
            ({"job_env_vars": {"LONG": "x" * 200_000}}, "could not be started"),
        ):
            job = await desk.ends(await desk.submit(**fields))
            assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
            assert words in (job.state.last_error or "")
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_an_unwritable_workspace_root_fails_the_attempt(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The job says so; nothing hangs."""
    (tmp_path / "file").touch()
    async with working(database, settings_for(tmp_path, workspace_root=tmp_path / "file" / "x")):
        job = await desk.ends(await desk.submit())
        assert (job.state.exit_code, job.state.status) == (None, Status.FAILED)
        assert "workspace" in (job.state.last_error or "")


async def test_read_only_files_are_removed_as_well(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Nothing of an attempt is left on disk."""
    async with working(database, settings_for(tmp_path)):
        await desk.ends(await desk.submit("mkdir -p a/b; touch a/b/c; chmod -R a-w a"))
    assert not list((tmp_path / "workspaces").iterdir())


async def test_an_idle_worker_asks_nothing(database: Database, desk: Desk, tmp_path: Path) -> None:
    """It waits for a ring, it does not spin."""
    async with working(database, settings_for(tmp_path)) as at_work:
        await desk.ends(await desk.submit())
        asked = 0
        claim = at_work.coordinator.claim

        async def counted(slots: int) -> object:
            nonlocal asked
            asked += 1
            return await claim(slots)

        at_work.coordinator.claim = counted  # type: ignore[method-assign, assignment]
        await asyncio.sleep(1)  # a stretch of time is what this is about
        assert asked <= 2


async def test_the_worker_is_on_the_list_of_workers(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Registered at its start, heard of while it works, stopped at its end."""
    async with working(database, settings_for(tmp_path)) as at_work:
        worker_id = at_work.coordinator.worker_id

        async def has_beaten() -> bool:
            return bool(await desk.pool.fetchval("SELECT count(*) FROM worker_beats"))

        await eventually(has_beaten)
        status = "SELECT status FROM workers WHERE worker_id = $1"
        assert await desk.pool.fetchval(status, worker_id) == "active"
    assert await desk.pool.fetchval(status, worker_id) == "stopped"


async def test_a_worker_outlives_its_connections(
    database: Database, desk: Desk, connection: Connection, tmp_path: Path
) -> None:
    """Output and outcome of what ran meanwhile arrive, and new work is taken."""
    async with working(database, settings_for(tmp_path, poll_seconds=0.5)):
        job_id = await desk.submit("echo one; while [ ! -f go ]; do sleep 0.01; done; echo two")
        await desk.prints(job_id, b"one\n")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        (src,) = (tmp_path / "workspaces").glob("*/job/src")
        (src / "go").touch()

        async def is_completed() -> bool:
            sql = "SELECT status FROM jobs WHERE job_id = $1"
            return bool(await connection.fetchval(sql, job_id) == "completed")

        await eventually(is_completed)
        assert await desk.log(job_id) == b"one\ntwo\n"

        async def submitted() -> UUID | None:
            with contextlib.suppress(DatabaseUnavailable):
                return await desk.submit()
            return None

        assert (await desk.ends(await eventually(submitted))).state.status is Status.COMPLETED
