"""One child of this worker: how it is born, the bytes it prints, and how it ends.

Every command that a worker starts comes from here. The asyncio child watchers are not used:
in some Python versions their `wait` lasts as long as a grandchild keeps the pipes open.
What a child leaves behind is the business of `process_tree`.
"""

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

READ_BYTES: Final = 65_536

UNREAPED: Final[set[int]] = set()
"""The pids of children whose end is awaited here: nobody else may take their exit status.

As wide as what it describes: the table of this process's children.
"""


class Pipe:
    """The reading end of what a child prints: at most `READ_BYTES` in memory at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._descriptor = file.fileno()
        os.set_blocking(self._descriptor, False)
        self._is_cut = False
        self._wake = asyncio.Event()

    async def read(self) -> bytes:
        """Return what has been printed since, as soon as there is any; empty at the end.

        Reading slowly is what slows a command down that prints fast.
        """
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._descriptor, READ_BYTES)
            if self._is_cut:
                return b""
            await self._becomes_readable()

    def cut(self) -> None:
        """Take what is in the pipe by now as all there is, whoever may still hold it open."""
        self._is_cut = True
        self._wake.set()

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()

    async def _becomes_readable(self) -> None:
        """Wait until there is something to read, or the pipe is cut."""
        loop = asyncio.get_running_loop()
        self._wake.clear()
        loop.add_reader(self._descriptor, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            loop.remove_reader(self._descriptor)


class Child:
    """A child in a session of its own, with nothing on stdin and two pipes to read."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        if popen.stdout is None or popen.stderr is None:
            msg = "a child prints into two pipes"
            raise ValueError(msg)
        self.pid = popen.pid
        self.stdout = Pipe(popen.stdout)
        self.stderr = Pipe(popen.stderr)
        self._popen = popen
        self._ended = asyncio.Event()
        UNREAPED.add(popen.pid)
        self._unwatch = _watch(popen, self._on_end)

    @property
    def has_ended(self) -> bool:
        """Whether the child itself has ended; its own children may live."""
        return self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """How it ended: 128 + n when signal n killed it; None before its end."""
        code = self._popen.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> None:
        """Return when the child has ended."""
        await self._ended.wait()

    def close(self) -> None:
        """Give back the pipes and the entry in the table of children, killing it if need be."""
        self._unwatch()
        self.stdout.close()
        self.stderr.close()
        if not self.has_ended:
            self._popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout=5)
            UNREAPED.discard(self.pid)

    def _on_end(self) -> None:
        self._popen.wait()
        UNREAPED.discard(self.pid)
        self._ended.set()


def spawn(argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Child:
    """Start a command with exactly this environment.

    Raises OSError or ValueError (a NUL in an argument) when it cannot be started.
    """
    return Child(
        subprocess.Popen(  # noqa: S603 - to run what a job asks for is the purpose
            argv,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    )


def _watch(popen: "subprocess.Popen[bytes]", on_end: Callable[[], None]) -> Callable[[], None]:
    """Call `on_end` in the loop when the child has ended; return how to stop watching."""
    try:
        pidfd = os.pidfd_open(popen.pid)
    except (AttributeError, OSError):  # not Linux, or an older one
        return _watch_by_thread(popen, on_end)
    loop = asyncio.get_running_loop()
    is_watched = True

    def unwatch() -> None:
        nonlocal is_watched
        if is_watched:
            is_watched = False
            loop.remove_reader(pidfd)
            os.close(pidfd)

    def ended() -> None:
        unwatch()
        on_end()

    loop.add_reader(pidfd, ended)
    return unwatch


def _watch_by_thread(
    popen: "subprocess.Popen[bytes]", on_end: Callable[[], None]
) -> Callable[[], None]:
    """Do the same where there are no pidfds."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(on_end)

    threading.Thread(target=wait, daemon=True).start()
    return lambda: None
