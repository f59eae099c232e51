"""The pipes that a command prints into, read as it prints. How it runs is not known here."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 65_536
"""What a pipe holds (pipe(7)), and so the most that one read brings."""

LOUD_BYTES: Final = 262_144
"""The same for a child that filled its pipe once."""


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


def open_pipes() -> tuple[tuple[Pipe, Pipe], list[int]]:
    """Return the reading ends of a command's stdout and stderr, and what it is to write to.

    Raises OSError when there are no descriptors left.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for _ in ("stdout", "stderr"):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
    except BaseException:
        for descriptor in (*ours, *theirs):
            os.close(descriptor)
        raise
    return (Pipe(ours[0]), Pipe(ours[1])), theirs
