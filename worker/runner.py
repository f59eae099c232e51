"""What the worker asks of whoever runs commands: one call per attempt.

Where the command runs (a plain child, a sandbox, a container) is the runner's secret.
"""

import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from reactorcide.worker.halt import Halt
from reactorcide.worker.workspace import Workspace

Stream: TypeAlias = Literal["stdout", "stderr"]

_SIGNALS: Final = 128
"""A command that signal n killed has the exit code 128 + n, as a shell says it."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to run, with everything that it will see."""

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    mark: tuple[str, ...]
    """Names the attempt whose lease it runs by; they are entries of the environment as well."""
    workspace: Workspace | None = None
    """Its own directories: walls let nothing else of this worker be seen."""
    image: str | None = None
    """What it is to run in, where the runner knows of images."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended."""

    exit_code: int
    """128 + n when signal n killed it."""
    was_halted: bool
    """It was asked to stop before it ended by itself."""

    @property
    def words(self) -> str:
        """Say how, for a person."""
        if self.exit_code > _SIGNALS:
            with contextlib.suppress(ValueError):
                name = signal.Signals(self.exit_code - _SIGNALS).name
                return f"exit code {self.exit_code} ({name})"
        return f"exit code {self.exit_code}"


class CommandNotStarted(Exception):  # noqa: N818  named by what is so, like the rejections
    """The command could not be started at all. `detail` says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CommandLost(Exception):  # noqa: N818  as above
    """Nobody can say how the command ended; nothing of it is left. `detail` says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Output(Protocol):
    """Where the bytes go that a command prints."""

    async def write(self, stream: Stream, data: bytes) -> None:
        """Take some bytes. Returning late slows the command down; it must return some time."""


class Runner(Protocol):
    """Runs commands, any number at a time."""

    name: str

    @property
    def plain(self) -> "Runner":
        """What runs commands without any walls: itself, if it has none."""
        ...

    def prepare(self) -> None:
        """Get ready, in the loop: the first command then starts as soon as any other."""

    async def run(self, command: Command, output: Output, halt: Halt) -> Exit:
        """Run to the end, or until the halt's grace is over; then nothing of it is left.

        All that was printed has been handed to `output`. Cancelled itself, it kills at once. A
        command still there when `halt.held_until` has come is killed, and the halt is told LOST.
        Raises CommandNotStarted and CommandLost.
        """
        ...

    def hold(self, until: float, held: Sequence[str], lost: Sequence[str]) -> None:
        """Let attempts (their marks, joined by a blank) go on until then; kill those lost.

        From any thread. Whatever the worker does, commands that are not held on to end in time.
        """

    async def close(self) -> None:
        """Give back what was needed to run commands, at the worker's end."""
