"""The environment of a job: what it asked for, what describes it, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.environment import environment_of, parse_env_file
from reactorcide.worker.workspace import (
    PreparationFailed,
    Workspace,
    make_workspace,
    remove_workspace,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace with an empty source."""
    made = make_workspace(tmp_path / "workspaces")
    assert made.path_of("/job/src") == made.source
    return made


def environment(workspace: Workspace, secrets: dict[str, str] | None = None, **fields: Any) -> Any:
    """Return the environment of a job."""
    return environment_of(
        key=AttemptKey(new_id(), 1),
        worker_id=new_id(),
        submitted=request(**fields),
        secrets=secrets or {},
        workspace=workspace,
    )


def test_the_jobs_own_values_win_over_its_file(workspace: Workspace) -> None:
    """And secrets are among its own."""
    workspace.path_of("/job/src/.env").write_text("A=file\nB=file\nC=file\n")
    found = environment(
        workspace, {"C": "secret"}, job_env_file=".env", job_env_vars={"B": "asked"}
    )
    assert (found["A"], found["B"], found["C"]) == ("file", "asked", "secret")


def test_the_path_of_the_file_may_be_absolute(workspace: Workspace) -> None:
    """As the job knows it."""
    workspace.path_of("/job/src/.env").write_text("A=file")
    assert environment(workspace, job_env_file="/job/src/.env")["A"] == "file"


def test_a_job_cannot_pose_as_another(workspace: Workspace) -> None:
    """What describes it is not its own to say."""
    found = environment(workspace, job_env_vars={"REACTORCIDE_JOB_ID": "other", "PATH": "/mine"})
    assert found["REACTORCIDE_JOB_ID"] != "other"
    assert found["PATH"] == "/mine"


@pytest.mark.parametrize("name", ["../../../secret", "/job/secret", "/etc/passwd", "link", "pipe"])
def test_a_file_outside_of_the_job_dir_is_refused(workspace: Workspace, name: str) -> None:
    """By whatever way it is reached."""
    workspace.path_of("/job/secret").write_text("A=1")
    workspace.path_of("/job/src/link").symlink_to("/etc/passwd")
    with pytest.raises(PreparationFailed):
        environment(workspace, job_env_file=name)


def test_lines_are_read_as_they_stand() -> None:
    """Quotes belong to the value, `=` may be in it, `#` begins a comment only at the start."""
    text = "# comment\n\nA=1\n  B = 2\r\nC='x y'\nD=a=b#c\nE=\n"
    with pytest.raises(PreparationFailed, match="line 4"):
        parse_env_file(text, "f")
    found = parse_env_file(text.replace("B = ", "B="), "f")
    assert found == {"A": "1", "B": "2", "C": "'x y'", "D": "a=b#c", "E": ""}


@pytest.mark.parametrize("line", ["hunter2", "1A=hunter2", "=hunter2", "A B=hunter2", "A=x\0y"])
def test_a_line_that_says_nothing_is_named_by_its_number(line: str) -> None:
    """Never by its text: it may be secret."""
    with pytest.raises(PreparationFailed, match="line 2") as failure:
        parse_env_file(f"A=1\n{line}\n", "f")
    assert "hunter2" not in failure.value.detail


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else happens."""
    try:
        found = parse_env_file(text, "f")
    except PreparationFailed:
        return
    assert all("=" not in name and "\0" not in value for name, value in found.items())


@pytest.mark.parametrize("path", ["/", "/etc", "job", "/jobs/x", "/job/../etc"])
def test_only_what_is_below_job_has_a_place(workspace: Workspace, path: str) -> None:
    """Everything else is refused."""
    with pytest.raises(PreparationFailed):
        workspace.path_of(path)


def test_a_workspace_is_for_its_owner_only_and_removed_whole(tmp_path: Path) -> None:
    """Links are removed, what they lead to is not."""
    made = make_workspace(tmp_path)
    assert made.root.stat().st_mode & 0o077 == 0
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (made.root / "job" / "link").symlink_to(tmp_path / "kept")
    (made.root / "job" / "deep").mkdir()
    (made.root / "job" / "deep" / "file").touch()
    (made.root / "job" / "deep").chmod(0)
    assert remove_workspace(made)
    assert (tmp_path / "kept" / "file").exists()
