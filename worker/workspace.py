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
from typing import Final, TypeAlias

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
    def directories(self) -> tuple[str, ...]:
        """All of it as it is made, each after the one that it is in."""
        made = (self.root, self.job, self.source, self.artifacts, self.temporary)
        return tuple(map(str, made))

    def path_of(self, job_path: str) -> Path:
        """Return where the job's `/job/…` really is. Raises PreparationFailed outside of /job."""
        if job_path == _SOURCE:
            return self.source
        pure = PurePosixPath(job_path)
        if not pure.is_relative_to(_JOB) or ".." in pure.parts:
            detail = f"{job_path!r} is not below /job"
            raise PreparationFailed(detail)
        return self.job / pure.relative_to(_JOB)


Look: TypeAlias = tuple[tuple[int, ...], ...]
"""What stat(2) says of each directory, but when it was read; the last two are when it was changed.

Two that are equal mean that nothing was changed, unless that was within the tick of the file
system's clock in which it was made.
"""


def make_workspace(parent: Path) -> Workspace:
    """Make a fresh one that only this user may enter. Raises PreparationFailed."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace = Workspace(Path(tempfile.mkdtemp(prefix="job-", dir=parent.resolve())))
        for path in workspace.directories[1:]:
            os.mkdir(path)  # noqa: PTH102 - for every command: no Path
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
    return tuple([(*stat[:7], stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats])


def changed_ns(look: Look) -> int:
    """Return when anything of it was changed last, by the file system's clock."""
    return max(max(facts[-2:]) for facts in look)


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
            os.rmdir(path)  # noqa: PTH106 - as above
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
