"""The directory of one attempt: fresh at its beginning, gone after its end.

    <root>/job-…/          HOME
        job/src/           what the job knows as /job/src
        artifacts/         what it leaves for others
        tmp/               TMPDIR

Blocking calls: to be made in a thread.
"""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_JOB: Final = PurePosixPath("/job")


class PreparationFailed(Exception):  # noqa: N818  named by what is so, like the rejections
    """What a job needs before its command can start is not to be had; `detail` says what."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Workspace:
    """The directories of one attempt."""

    root: Path

    @property
    def source(self) -> Path:
        """Where the source goes and the command runs, unless the job says otherwise."""
        return self.root / "job" / "src"

    @property
    def artifacts(self) -> Path:
        """Where the job puts what it leaves."""
        return self.root / "artifacts"

    @property
    def temporary(self) -> Path:
        """Where the job's programs put their temporary files."""
        return self.root / "tmp"

    def path_of(self, job_path: str) -> Path:
        """Return where the job's `/job/…` really is. Raises PreparationFailed outside of /job."""
        pure = PurePosixPath(job_path)
        if not pure.is_relative_to(_JOB) or ".." in pure.parts:
            detail = f"{job_path!r} is not below /job"
            raise PreparationFailed(detail)
        return self.root / "job" / pure.relative_to(_JOB)


def make_workspace(parent: Path) -> Workspace:
    """Make a fresh one that only this user may enter. Raises PreparationFailed."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace = Workspace(Path(tempfile.mkdtemp(prefix="job-", dir=parent.resolve())))
        for path in (workspace.source, workspace.artifacts, workspace.temporary):
            path.mkdir(parents=True)
    except OSError as error:
        detail = f"no workspace could be made in {parent}: {error.strerror}"
        raise PreparationFailed(detail) from error
    return workspace


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
