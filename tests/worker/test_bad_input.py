"""What cannot be prepared fails the attempt, says why, and leaves the worker as it was."""

from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working

BAD: list[tuple[dict[str, Any], str]] = [
    ({"source_type": "git", "git_url": "https://127.0.0.1:1/x.git"}, "git failed"),
    ({"source_type": "git", "git_url": "ssh://nobody@127.0.0.1:1/x.git"}, "git failed"),
    ({"source_type": "git", "git_url": "git://127.0.0.1:1/x.git", "git_ref": "v1"}, "git failed"),
    ({"source_type": "git", "git_url": "file:///etc"}, "not below a directory"),
    ({"source_type": "copy", "source_path": "/etc"}, "not below a directory"),
    ({"source_type": "copy", "source_path": "{root}/missing"}, "not a directory"),
    ({"job_dir": "/job/" + "x" * 300}, "could not be made"),
    ({"job_env_file": "missing"}, "not a file"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
async def test_an_attempt_that_cannot_be_prepared_fails_clearly(
    database: Database, desk: Desk, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    """Without an exit code: nothing ran. The next job does."""
    roots = tmp_path / "roots"
    roots.mkdir()
    asked: dict[str, Any] = {
        name: value.format(root=roots) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    async with working(database, settings_for(tmp_path, copy_roots=(roots,))):
        job = await desk.ends(await desk.submit(**asked))
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert words in (job.state.last_error or "")
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_a_workspace_that_cannot_be_made_fails_the_attempt(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """And the next one works as soon as it can."""
    (tmp_path / "workspaces").touch()
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(await desk.submit())
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert "no workspace could be made" in (job.state.last_error or "")
        (tmp_path / "workspaces").unlink()
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


async def test_nothing_of_the_workers_environment_reaches_a_command(
    database: Database, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what describes the job, what it asked for, and what every program needs."""
    for name in ("PLANTED", "REACTORCIDE_PLANTED", "PYTHONPATH", "LD_LIBRARY_PATH", "BASH_ENV"):
        monkeypatch.setenv(name, "planted")
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit("env -0 | cut -z -d= -f1", job_env_vars={"MINE": "1"})
        await desk.ends(job_id)
        names = (await desk.log(job_id)).decode().split("\0")
    assert sorted(filter(None, names)) == sorted(
        [
            "HOME",
            "LANG",
            "MINE",
            "PATH",
            "PWD",
            "REACTORCIDE_ARTIFACTS_DIR",
            "REACTORCIDE_ATTEMPT",
            "REACTORCIDE_JOB_ID",
            "REACTORCIDE_JOB_NAME",
            "REACTORCIDE_QUEUE",
            "REACTORCIDE_WORKER_ID",
            "REACTORCIDE_WORKSPACE",
            "TMPDIR",
        ]
    )
