"""The directory of one attempt: fresh at its beginning, gone after its end.

    <root>/job-…/          HOME
        job/src/           what the job knows as /job/src
        artifacts/         what it leaves for others
        tmp/               TMPDIR

To make one and to remove an empty one takes some tenths of a millisecond; to remove one with
files in it is to be called in a thread.
"""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_JOB: Final = PurePosixPath("/job")
_SOURCE: Final = "/job/src"


class PreparationFailed(Exception):  # noqa: N818  named by what is so, like the rejections
    """What a job needs before its command can start is not to be had; `detail` says what."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Workspace:
    """The directories of one attempt."""

    root: Path

    @cached_property
    def job(self) -> Path:
        """What the job knows as `/job`."""
        return self.root / "job"

    @cached_property
    def source(self) -> Path:
        """Where the source goes and the command runs, unless the job says otherwise."""
        return self.job / "src"

    @cached_property
    def artifacts(self) -> Path:
        """Where the job puts what it leaves."""
        return self.root / "artifacts"

    @cached_property
    def temporary(self) -> Path:
        """Where the job's programs put their temporary files."""
        return self.root / "tmp"

    @cached_property
    def directories(self) -> tuple[Path, ...]:
        """All of it as it is made, each after the one that it is in."""
        return self.root, self.job, self.source, self.artifacts, self.temporary

    def path_of(self, job_path: str) -> Path:
        """Return where the job's `/job/…` really is. Raises PreparationFailed outside of /job."""
        if job_path == _SOURCE:
            return self.source
        pure = PurePosixPath(job_path)
        if not pure.is_relative_to(_JOB) or ".." in pure.parts:
            detail = f"{job_path!r} is not below /job"
            raise PreparationFailed(detail)
        return self.job / pure.relative_to(_JOB)


class Look(NamedTuple):
    """What stat(2) says of each directory: two that are equal mean that nothing was changed.

    Unless it was changed within the tick of the file system's clock in which it was made.
    """

    facts: tuple[tuple[int, ...], ...]
    """Which it is, whose, its rights."""
    changed_ns: tuple[int, ...]
    """When its entries, and when anything of it changed, by the file system's clock."""


def make_workspace(parent: Path) -> Workspace:
    """Make a fresh one that only this user may enter. Raises PreparationFailed."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace = Workspace(Path(tempfile.mkdtemp(prefix="job-", dir=parent.resolve())))
        for path in workspace.directories[1:]:
            path.mkdir()
    except OSError as error:
        detail = f"no workspace could be made in {parent}: {error.strerror}"
        raise PreparationFailed(detail) from error
    return workspace


def look_at(workspace: Workspace) -> Look | None:
    """Return what it looks like; None when a part of it is not there."""
    try:
        stats = [os.lstat(path) for path in workspace.directories]
    except OSError:
        return None
    return Look(
        tuple((s.st_dev, s.st_ino, s.st_mode, s.st_uid, s.st_gid) for s in stats),
        tuple(at for s in stats for at in (s.st_mtime_ns, s.st_ctime_ns)),
    )


def is_empty(workspace: Workspace) -> bool:
    """Whether nothing but its own directories is in it."""
    expected = 4
    try:
        return expected == sum(len(os.listdir(path)) for path in workspace.directories)  # noqa: PTH208
    except OSError:
        return False


def remove_empty_workspace(workspace: Workspace) -> bool:
    """Remove the directories if nothing is in them; return whether they are gone.

    Links are not followed.
    """
    if workspace.root.is_symlink() or workspace.job.is_symlink():
        return False
    try:
        for path in reversed(workspace.directories):
            path.rmdir()
    except OSError:
        return False
    return True


def remove_workspace(workspace: Workspace) -> bool:
    """Remove everything, files and directories without write permission too.

    Links are removed, never followed. Returns whether nothing is left.
    """
    shutil.rmtree(workspace.root, ignore_errors=True)
    if workspace.root.exists():
        _make_writable(workspace.root)
        shutil.rmtree(workspace.root, ignore_errors=True)
    return not workspace.root.exists()


def _make_writable(root: Path) -> None:
    """Give every directory back to its owner, from the top down."""
    root.chmod(0o700)
    for folder, names, _ in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
