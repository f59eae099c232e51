"""A job's files come from a commit or a directory, and from nowhere else."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.environment import mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.source import Halted, Place, fetch_source
from reactorcide.worker.workspace import PreparationFailed, Workspace, make_workspace

GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace."""
    return make_workspace(tmp_path / "workspaces")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A directory that the worker may copy from."""
    folder = tmp_path / "roots"
    folder.mkdir()
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    ended = subprocess.run(
        ["git", *arguments], cwd=folder, env=GIT, check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


@pytest.fixture
def repository(roots: Path) -> Path:
    """Two commits on main, the first one tagged; another one on a branch."""
    folder = roots / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, after in (("first", ("tag", "v1")), ("second", ("branch", "side"))):
        (folder / "file").write_text(name)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "--message", name)
        git(folder, *after)
    git(folder, "checkout", "--quiet", "side")
    (folder / "file").write_text("aside")
    git(folder, "commit", "--quiet", "--all", "--message", "aside")
    git(folder, "checkout", "--quiet", "main")
    return folder


async def fetch(workspace: Workspace, roots: Path, halt: Halt | None = None, **fields: Any) -> Path:
    """Fetch a job's source; return where the job finds it."""
    runner = ProcessRunner()
    place = Place(workspace, (roots,), mark_of(new_id(), 1), runner)
    try:
        async with asyncio.timeout(30):
            await fetch_source(request(**fields), place, halt or Halt())
    finally:
        await runner.close()
    return workspace.path_of("/job/src")


async def test_the_directory_is_there_without_a_source(workspace: Workspace, roots: Path) -> None:
    """And empty."""
    assert not list((await fetch(workspace, roots)).iterdir())


@pytest.mark.parametrize(
    ("ref", "text"), [(None, "second"), ("main", "second"), ("side", "aside"), ("v1", "first")]
)
async def test_git_brings_a_branch_or_a_tag(
    workspace: Workspace, roots: Path, repository: Path, ref: str | None, text: str
) -> None:
    """And the default branch when none is named."""
    src = await fetch(workspace, roots, source_type="git", git_url=repository.as_uri(), git_ref=ref)
    assert (src / "file").read_text() == text


@pytest.mark.parametrize("length", [40, 10])
async def test_git_brings_a_commit(
    workspace: Workspace, roots: Path, repository: Path, length: int
) -> None:
    """By its whole name or the beginning of it."""
    commit = git(repository, "rev-parse", "v1")[:length]
    src = await fetch(
        workspace, roots, source_type="git", git_url=repository.as_uri(), git_ref=commit
    )
    assert (src / "file").read_text() == "first"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"git_ref": "no-such-branch"}, "no branch, tag or commit"),
        ({"git_ref": "--upload-pack=touch /tmp/x"}, "begins with a dash"),
        ({"git_url": "file:///etc"}, "not below a directory"),
        ({"git_url": "https://user:hunter2@127.0.0.1:1/x.git"}, "git failed"),
        ({"git_url": "ext::sh -c true"}, "git failed"),
    ],
)
async def test_what_git_cannot_bring_is_a_clear_failure(
    workspace: Workspace, roots: Path, repository: Path, fields: dict[str, str], words: str
) -> None:
    """Nothing asks for a password, none is in the reason, and nothing else is run."""
    wanted: dict[str, Any] = {"source_type": "git", "git_url": repository.as_uri(), **fields}
    with pytest.raises(PreparationFailed, match=words) as failure:
        await fetch(workspace, roots, **wanted)
    assert "hunter2" not in failure.value.detail


async def test_a_halt_stops_git(workspace: Workspace, roots: Path, repository: Path) -> None:
    """Before the attempt's command was ever started."""
    halt = Halt()
    halt.ask(HaltReason.CANCEL, 0)
    with pytest.raises(Halted):
        await fetch(workspace, roots, halt, source_type="git", git_url=repository.as_uri())


async def test_copy_brings_a_tree_as_it_is(workspace: Workspace, roots: Path) -> None:
    """With its modes; links stay links, wherever they lead."""
    (roots / "tree" / "sub").mkdir(parents=True)
    (roots / "tree" / "sub" / "run").write_text("x")
    (roots / "tree" / "sub" / "run").chmod(0o755)
    (roots / "tree" / "away").symlink_to("/etc/passwd")
    src = await fetch(workspace, roots, source_type="copy", source_path=str(roots / "tree"))
    assert os.access(src / "sub" / "run", os.X_OK)
    assert (src / "away").readlink() == Path("/etc/passwd")


async def test_copy_reads_only_below_the_roots(
    workspace: Workspace, roots: Path, tmp_path: Path
) -> None:
    """However the way out is written; what is outside is not even said to exist."""
    (tmp_path / "outside").mkdir()
    (roots / "link").symlink_to(tmp_path / "outside")
    for path in (
        str(tmp_path / "outside"),
        str(tmp_path / "missing"),
        str(roots / ".." / "outside"),
        str(roots / "link"),
        str(roots) + "-not",
        "relative",
        "",
    ):
        with pytest.raises(PreparationFailed, match="not below a directory"):
            await fetch(workspace, roots, source_type="copy", source_path=path)


async def test_copy_says_what_is_missing_or_no_file(workspace: Workspace, roots: Path) -> None:
    """A pipe would never end."""
    with pytest.raises(PreparationFailed, match="not a directory"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots / "missing"))
    os.mkfifo(roots / "pipe")
    with pytest.raises(PreparationFailed, match="neither a file"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots))
