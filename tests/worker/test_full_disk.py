"""A disk that is really full: the attempt says so, and the worker goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if made.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {made.stderr!r}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def a_large_repository(tree: Path) -> Path:
    """Make a repository of more than can be packed into a megabyte."""
    tree.mkdir(parents=True)
    (tree / "noise").write_bytes(os.urandom(4_000_000))
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "noise")):
        subprocess.run([*GIT, *words], cwd=tree, check=True)
    return tree


async def test_a_full_disk_fails_the_attempt_and_not_the_worker(
    database: Database, desk: Desk, tmp_path: Path, small_disk: Path
) -> None:
    """While a source is copied, or cloned: no exit code, for nothing ran."""
    tree = a_large_repository(tmp_path / "roots" / "tree")
    settings = settings_for(
        tmp_path, copy_roots=(tree.parent,), workspace_root=small_disk / "workspaces"
    )
    async with working(database, settings):
        sources: tuple[dict[str, Any], ...] = (
            {"source_type": "copy", "source_path": str(tree)},
            {"source_type": "git", "git_url": tree.as_uri()},
        )
        for fields in sources:
            job = await desk.ends(await desk.submit(**fields))
            assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
            assert "No space left on device" in (job.state.last_error or "")
        (small_disk / "filler").write_bytes(bytes(900_000))
        full = await desk.ends(await desk.submit("head -c 2000000 /dev/zero > here"))
        assert (full.state.status, full.state.exit_code) == (Status.FAILED, 1)
        (small_disk / "filler").unlink()
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED
