"""Brings a job's files into its workspace: nothing, a git commit, or a copy of a directory.

Local directories are only read below the roots that the worker allows. Nothing asks anybody
anything, and no password in a URL gets into an error.
"""

import asyncio
import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.worker.environment import base_environment
from reactorcide.worker.halt import Halt
from reactorcide.worker.runner import Command, CommandLost, CommandNotStarted, Runner, Stream
from reactorcide.worker.workspace import PreparationFailed, Workspace

_GIT_ENVIRONMENT: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "https:ssh:git:file",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_ERROR_BYTES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source goes to, and what it may be taken from."""

    workspace: Workspace
    copy_roots: tuple[Path, ...]
    mark: tuple[str, ...]
    runner: Runner
    """What git is run by."""


class Halted(Exception):  # noqa: N818  named by what is so, like the rejections
    """The attempt was asked to stop while its source was on the way."""


async def fetch_source(submitted: JobSubmitted, place: Place, halt: Halt) -> None:
    """Fill `code_dir`. Raises PreparationFailed, and Halted when asked to stop meanwhile."""
    target = place.workspace.path_of(submitted.code_dir)
    match submitted.source_type:
        case "none":
            for path in {target, place.workspace.path_of(submitted.job_dir)}:
                if path is not place.workspace.source:
                    _make(path)
        case "git":
            await _clone(submitted, target, place, halt)
        case "copy":
            source = _allowed(submitted.source_path or "", place.copy_roots)
            await asyncio.to_thread(_copy, source, target, halt)


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        detail = f"the directory could not be made: {error.strerror}"
        raise PreparationFailed(detail) from error


def _allowed(text: str, roots: Sequence[Path]) -> Path:
    """Return the real path, links resolved, if it is below one of the roots."""
    path = Path(text)
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError):
        real = None
    is_below = path.is_absolute() and any(
        (real or Path(os.path.normpath(path))).is_relative_to(root.resolve()) for root in roots
    )
    if not is_below:  # said first, so that nobody learns what is outside
        detail = f"{text!r} is not below a directory that this worker may copy from"
        raise PreparationFailed(detail)
    if real is None or not real.is_dir():
        detail = f"{text!r} is not a directory on this worker"
        raise PreparationFailed(detail)
    return real


def _copy(source: Path, target: Path, halt: Halt) -> None:
    """Copy a tree; links stay links. Refuses what is no file, directory or link."""

    def copy_one(from_path: str, to_path: str) -> str:
        if halt.is_asked:
            raise Halted
        if not stat.S_ISREG(os.lstat(from_path).st_mode):
            detail = f"{from_path!r} is neither a file, a directory nor a link"
            raise PreparationFailed(detail)
        return shutil.copy2(from_path, to_path, follow_symlinks=False)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, symlinks=True, copy_function=copy_one, dirs_exist_ok=True)
    except shutil.Error as error:
        first = error.args[0][0]
        detail = f"{str(source)!r} could not be copied: {first[2]}"
        raise PreparationFailed(detail) from error
    except OSError as error:
        detail = f"{str(source)!r} could not be copied: {error.strerror}"
        raise PreparationFailed(detail) from error


async def _clone(submitted: JobSubmitted, target: Path, place: Place, halt: Halt) -> None:
    """Clone, shallow where the ref is a name, whole where it is a commit."""
    url, ref = submitted.git_url or "", submitted.git_ref
    if (ref or "").startswith("-"):
        detail = f"git_ref {ref!r} begins with a dash"
        raise PreparationFailed(detail)
    if urlsplit(url).scheme == "file":
        url = _allowed(unquote(urlsplit(url).path), place.copy_roots).as_uri()
    git = _Git(place, halt)
    clone = ("clone", "--quiet", "--no-tags")
    if ref is None:
        await git.run(*clone, "--depth=1", "--", url, str(target))
        return
    if await git.try_run(*clone, "--depth=1", f"--branch={ref}", "--", url, str(target)) is None:
        return
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    await git.run("clone", "--quiet", "--no-checkout", "--", url, str(target))
    error = await git.try_run(
        "-C", str(target), "checkout", "--quiet", "--detach", f"{ref}^{{commit}}", "--"
    )
    if error is not None:
        detail = f"git_ref {ref!r} is no branch, tag or commit of the repository"
        raise PreparationFailed(detail)


class _Git:
    """Runs git commands on behalf of one attempt."""

    def __init__(self, place: Place, halt: Halt) -> None:
        self._place = place
        self._halt = halt
        marks = dict(entry.split("=", 1) for entry in place.mark)
        self._environment = {**base_environment(place.workspace), **_GIT_ENVIRONMENT, **marks}

    async def run(self, *arguments: str) -> None:
        """Run one command. Raises PreparationFailed with what git said, and Halted."""
        error = await self.try_run(*arguments)
        if error is not None:
            detail = f"git failed: {error}"
            raise PreparationFailed(detail)

    async def try_run(self, *arguments: str) -> str | None:
        """Run one command; None when it succeeded, else what git said, without passwords."""
        said = _Tail()
        command = Command(
            ("git", *arguments), self._place.workspace.root, self._environment, self._place.mark
        )
        try:
            ended = await self._place.runner.run(command, said, self._halt)
        except (CommandLost, CommandNotStarted) as error:
            raise PreparationFailed(error.detail) from error
        if ended.was_halted:
            raise Halted
        return None if ended.exit_code == 0 else said.text(ended.exit_code)


class _Tail:
    """Keeps the end of what git says."""

    def __init__(self) -> None:
        self._bytes = b""

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Keep the last of it."""
        self._bytes = (self._bytes + data)[-_ERROR_BYTES:]

    def text(self, exit_code: int) -> str:
        """Return its last lines as one."""
        lines = [line.strip() for line in self._bytes.decode(errors="replace").splitlines()]
        return _USERINFO.sub("", "; ".join(filter(None, lines))) or f"exit code {exit_code}"
