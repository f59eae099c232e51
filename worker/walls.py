"""A Runner that puts walls around a command and has another Runner start what comes of that.

Which walls is the business of the modules beside this one. Here is what is alike in all: how the
directories are called inside, and how it is told whether the command itself ever began.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Protocol, TypeAlias

from reactorcide.worker.halt import Halt
from reactorcide.worker.runner import Command, CommandNotStarted, Exit, Output, Runner, Stream
from reactorcide.worker.workspace import PreparationFailed, Workspace

JOB: Final = PurePosixPath("/job")
ARTIFACTS: Final = PurePosixPath("/artifacts")
TEMPORARY: Final = PurePosixPath("/tmp")  # noqa: S108  a directory of its own is mounted there

ENTER: Final = 'cd -- "$1" || exit 126; rm -f /tmp/.reactorcide-outside; shift; '
"""How the program inside begins, a shell's: its first argument is the directory to go to."""

_OUTSIDE: Final = ".reactorcide-outside"
_EXIT: Final = ".reactorcide-exit"
"""Where the walls may leave the command's exit code, should theirs be another."""
_TAIL_BYTES: Final = 2_000
_GREATEST_CODE: Final = 255

Places: TypeAlias = tuple[tuple[Path, PurePosixPath], ...]
"""Directories of the workspace, and how they are called inside."""


class WallsUnusable(Exception):  # noqa: N818  named by what is so, like the rejections
    """This machine cannot build such walls. `detail` says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Inside:
    """A command as it is to run inside, and how to start it from there."""

    argv: tuple[str, ...]
    cwd: PurePosixPath
    environment: Mapping[str, str]
    workspace: Workspace
    command: Command
    """As it was asked for."""

    @property
    def places(self) -> Places:
        """All that is to be seen of the workspace."""
        return (
            (self.workspace.job, JOB),
            (self.workspace.artifacts, ARTIFACTS),
            (self.workspace.temporary, TEMPORARY),
        )

    def starting(self, script: str) -> tuple[str, ...]:
        """Return the words that start it inside; `script` is a shell's, it gets the argv."""
        return "sh", "-c", ENTER + script, "sh", str(self.cwd), *self.argv


class Walls(Protocol):
    """One way to keep a command apart from the machine."""

    name: str

    async def check(self, plain: Runner) -> None:
        """Find out whether it works here. Raises WallsUnusable."""

    def around(
        self, inside: Inside, plain: Runner, halt: Halt
    ) -> AbstractAsyncContextManager[Command]:
        """Return what is to be started by `plain`; nothing of it is left after the block.

        Raises CommandNotStarted.
        """
        ...


class WalledRunner:
    """A Runner; see `Runner.run`."""

    def __init__(self, plain: Runner, walls: Walls) -> None:
        self.name = walls.name
        self.plain = plain
        self._walls = walls

    def prepare(self) -> None:
        """Prepare the plain runner."""
        self.plain.prepare()

    async def run(self, command: Command, output: Output, halt: Halt) -> Exit:
        """Run within the walls; a command that never began there is not started."""
        inside = _inside(command)
        outside = inside.workspace.temporary / _OUTSIDE
        try:
            outside.touch()
        except OSError as error:
            detail = f"the workspace cannot be used: {error.strerror}"
            raise CommandNotStarted(detail) from error
        said = Overheard(output)
        async with self._walls.around(inside, self.plain, halt) as starting:
            ended = await self.plain.run(starting, said, halt)
        if outside.exists() and not ended.was_halted:
            reason = said.text() or f"exit code {ended.exit_code}"
            detail = f"the command could not be started: {reason}"
            raise CommandNotStarted(detail)
        code = _exit_code_in(inside.workspace.temporary / _EXIT)
        return ended if code is None else replace(ended, exit_code=code)

    def hold(self, until: float, held: Sequence[str], lost: Sequence[str]) -> None:
        """Hand it on: what is inside ends with what was started."""
        self.plain.hold(until, held, lost)

    async def close(self) -> None:
        """Close the plain runner."""
        await self.plain.close()


def _exit_code_in(path: Path) -> int | None:
    """Return the code that was written down; None when there is none.

    Whatever the command put there instead, a pipe or a link, is no code.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        text = os.read(descriptor, 5).strip() if is_file else b""
    finally:
        os.close(descriptor)
    return int(text) if text.isdigit() and int(text) <= _GREATEST_CODE else None


class Overheard:
    """An Output that keeps the end of what passes through it."""

    def __init__(self, output: Output | None = None) -> None:
        self._output = output
        self._bytes = b""

    async def write(self, stream: Stream, data: bytes) -> None:
        """Hand it on, if there is somebody."""
        self._bytes = (self._bytes + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        if self._output is not None:
            await self._output.write(stream, data)

    def text(self) -> str:
        """Return its last lines as one."""
        lines = (line.strip() for line in self._bytes.decode(errors="replace").splitlines())
        return "; ".join(filter(None, lines))


def _inside(command: Command) -> Inside:
    workspace = command.workspace
    if workspace is None:
        detail = "the command has no workspace"
        raise CommandNotStarted(detail)
    rename = _renaming(workspace)
    return Inside(
        argv=tuple(map(rename, command.argv)),
        cwd=PurePosixPath(rename(str(command.cwd))),
        environment={name: rename(value) for name, value in command.environment.items()},
        workspace=workspace,
        command=command,
    )


def _renaming(workspace: Workspace) -> Callable[[str], str]:
    """Return what tells how a path of the workspace is called inside; other words stay."""
    places = (
        (str(workspace.job), JOB),
        (str(workspace.artifacts), ARTIFACTS),
        (str(workspace.temporary), TEMPORARY),
        (str(workspace.root), JOB),  # HOME
    )

    def rename(word: str) -> str:
        for path, name in places:
            if word == path or word.startswith(path + "/"):
                return str(name) + word[len(path) :]
        return word

    return rename


def without_workspace(command: Command, argv: tuple[str, ...], **environment: str) -> Command:
    """Return what starts `command` from outside: it carries its mark and nothing of its own."""
    marks = dict(entry.split("=", 1) for entry in command.mark)
    return replace(command, argv=argv, cwd=Path("/"), environment={**environment, **marks})


def written(path: Path, text: bytes) -> str:
    """Write a file that only this user may read; return its path. Raises PreparationFailed."""
    try:
        path.touch(mode=0o600)
        path.write_bytes(text)
    except OSError as error:
        detail = f"the workspace cannot be used: {error.strerror}"
        raise PreparationFailed(detail) from error
    return str(path)
