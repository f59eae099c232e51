"""One child of this worker: how it is born, the bytes it prints, and how it ends.

Every command that a worker starts comes from here. The asyncio child watchers are not used:
in some Python versions their `wait` lasts as long as a grandchild keeps the pipes open.
What a child leaves behind is the business of `process_tree`.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from reactorcide.worker.spawning import start

READ_BYTES: Final = 65_536
"""What a pipe holds (pipe(7)), and so the most that one read brings."""

LOUD_BYTES: Final = 262_144
"""The same for a child that filled its pipe once."""

UNREAPED: Final[set[int]] = set()
"""The pids of children whose end is awaited here: nobody else may take their exit status.

As wide as what it describes: the table of this process's children.
"""


class Pipe:
    """The reading end of what a child prints: at most one read of it is in memory at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._bytes = READ_BYTES
        self._watching: asyncio.AbstractEventLoop | None = None

    def read(self) -> bytes | None:
        """Return what has been printed since; None when that is nothing yet, empty at the end.

        Reading slowly is what slows a command down that prints fast.
        """
        try:
            data = os.read(self._descriptor, self._bytes)
        except BlockingIOError:
            return None
        if len(data) == READ_BYTES == self._bytes:
            self._widen()
        return data

    def watch(self, call: Callable[[], None]) -> None:
        """Call in the loop, again and again, while `read` returns something else than None."""
        self._watching = asyncio.get_running_loop()
        self._watching.add_reader(self._descriptor, call)

    def unwatch(self) -> None:
        """Call no more."""
        if self._watching is not None:
            self._watching.remove_reader(self._descriptor)
            self._watching = None

    def close(self) -> None:
        """Give the descriptor back; may be repeated."""
        self.unwatch()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _widen(self) -> None:
        """Let more wait in the pipe while a piece is on its way, and bring it in fewer reads."""
        self._bytes = LOUD_BYTES
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or beyond the user's share
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, LOUD_BYTES)


class Child:
    """A child in a session of its own, with nothing on stdin and two pipes to read."""

    def __init__(self, pid: int, stdout: Pipe, stderr: Pipe, on_end: Callable[[], None]) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.exit_code: int | None = None
        """How it ended: 128 + n when signal n killed it; None before its end."""
        self._tell = on_end
        UNREAPED.add(pid)
        _watch(pid, self._take_end)

    @property
    def has_ended(self) -> bool:
        """Whether the child itself has ended; its own children may live."""
        return self.exit_code is not None

    def close(self) -> None:
        """Give back the pipes, and kill it if need be; its end is still awaited then."""
        self.stdout.close()
        self.stderr.close()
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _take_end(self, status: int) -> None:
        UNREAPED.discard(self.pid)
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = 128 - code if code < 0 else code
        self._tell()


def spawn(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], on_end: Callable[[], None]
) -> Child:
    """Start a command with exactly this environment; `on_end` is called in the loop.

    Raises OSError or ValueError (a NUL in an argument) when it cannot be started.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for _ in ("stdout", "stderr"):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
        pid = start(argv, cwd, environment, *theirs)
    except BaseException:
        _close(ours)
        raise
    finally:
        _close(theirs)
    return Child(pid, Pipe(ours[0]), Pipe(ours[1]), on_end)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _watch(pid: int, on_end: Callable[[int], None]) -> None:
    """Call `on_end` in the loop with the child's status (wait(2)) when it has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an older one, or no descriptor left
        _watch_by_thread(pid, on_end)
        return
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        on_end(os.waitpid(pid, 0)[1])

    loop.add_reader(pidfd, ended)


def _watch_by_thread(pid: int, on_end: Callable[[int], None]) -> None:
    """Do the same where there are no pidfds."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        status = os.waitpid(pid, 0)[1]
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(on_end, status)

    threading.Thread(target=wait, daemon=True).start()
