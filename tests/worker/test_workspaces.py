"""Every attempt has a fresh workspace, and nothing of any is there afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reactorcide.worker.workspace import Workspace
from reactorcide.worker.workspaces import Workspaces


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Where the workspaces are."""
    return tmp_path / "workspaces"


async def test_an_untouched_workspace_is_lent_again_while_others_are(parent: Path) -> None:
    """It is as fresh as a new one."""
    workspaces = Workspaces(parent)
    workspaces.take()
    second = workspaces.take()
    for _ in range(2):
        assert workspaces.is_untouched(second)
        await workspaces.give_back(second)
        assert workspaces.take() is second
    (second.artifacts / "file").touch()
    assert not workspaces.is_untouched(second)


def _entries(parent: Path) -> list[Path]:
    return list(parent.iterdir())


def _replace_temporary(workspace: Workspace) -> None:
    workspace.temporary.rename(workspace.root / "old")
    workspace.temporary.mkdir()
    (workspace.root / "old").rmdir()


def _link_temporary(workspace: Workspace) -> None:
    workspace.temporary.rmdir()
    workspace.temporary.symlink_to(workspace.artifacts)


TOUCHES: dict[str, Callable[[Workspace], object]] = {
    "a file": lambda workspace: (workspace.source / "file").touch(),
    "a hidden file": lambda workspace: (workspace.root / ".profile").touch(),
    "a directory": lambda workspace: (workspace.temporary / "a" / "b").mkdir(parents=True),
    "an artifact": lambda workspace: (workspace.artifacts / "a").write_text("secret"),
    "other rights": lambda workspace: workspace.source.chmod(0o777),
    "less": lambda workspace: workspace.artifacts.rmdir(),
    "another in its place": _replace_temporary,
    "a link in its place": _link_temporary,
    "nothing at all": lambda workspace: workspace.root.rename(workspace.root.parent / "moved"),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=list(TOUCHES))
async def test_a_touched_workspace_is_not_lent_again(
    touch: Callable[[Workspace], object], parent: Path
) -> None:
    """It is gone with all that is in it, however little was changed and however soon."""
    workspaces = Workspaces(parent)
    workspaces.take()
    touched = workspaces.take()
    touch(touched)
    assert not workspaces.is_untouched(touched)
    await workspaces.give_back(touched)
    assert not touched.root.exists()
    assert workspaces.take() != touched


async def test_what_happens_to_a_spare_workspace_keeps_it_from_being_lent(parent: Path) -> None:
    """Somebody left a file in one, somebody removed another."""
    workspaces = Workspaces(parent)
    workspaces.take()
    spare = [workspaces.take(), workspaces.take()]
    for workspace in spare:
        await workspaces.give_back(workspace)
    (spare[0].temporary / "file").touch()
    spare[1].temporary.rmdir()
    fresh = workspaces.take()
    assert fresh not in spare
    assert fresh.temporary.is_dir()
    assert not spare[0].root.exists()
    assert not spare[1].root.exists()


async def test_nothing_is_there_when_the_last_one_is_given_back(parent: Path) -> None:
    """Spare ones go with it."""
    workspaces = Workspaces(parent)
    lent = [workspaces.take() for _ in range(4)]
    (lent[2].source / "file").touch()
    for workspace in lent:
        await workspaces.give_back(workspace)
    assert not _entries(parent)


async def test_spare_workspaces_stay_as_long_as_they_are_held(parent: Path) -> None:
    """One attempt after the other may have the same one then."""
    workspaces = Workspaces(parent)
    with workspaces.held():
        first = workspaces.take()
        await workspaces.give_back(first)
        assert workspaces.take() is first
        await workspaces.give_back(first)
    assert not _entries(parent)


async def test_a_link_that_an_attempt_leaves_is_not_followed(parent: Path, tmp_path: Path) -> None:
    """Not even to a directory that looks like a part of a workspace."""
    (tmp_path / "kept" / "src").mkdir(parents=True)
    workspaces = Workspaces(parent)
    workspace = workspaces.take()
    workspace.source.rmdir()
    workspace.job.rmdir()
    workspace.job.symlink_to(tmp_path / "kept")
    await workspaces.give_back(workspace)
    assert not workspace.root.exists()
    assert (tmp_path / "kept" / "src").is_dir()
