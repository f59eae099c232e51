"""The pipes that a command prints into, read as it prints. How it runs is not known here."""

import asyncio
import contextlib
import fcntl
import os
import select
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 65_536
"""What a pipe holds (pipe(7)), and so the most that one read brings."""

LOUD_BYTES: Final = 262_144
"""The same for a child that filled its pipe once."""


class Pipe:
    """The reading end of what a child prints: at most one read of it is in memory at a time."""

    def __init__(self, descriptor: int, watch: "Watch") -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._bytes = READ_BYTES
        self._watch = watch
        self._is_watched = False

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
        self._watch.add(self._descriptor, call)
        self._is_watched = True

    def unwatch(self) -> None:
        """Call no more."""
        if self._is_watched:
            self._watch.remove(self._descriptor)
            self._is_watched = False

    def close(self) -> None:
        """Give the descriptor back; may be repeated."""
        if self._descriptor >= 0:
            if self._is_watched:
                self._watch.forget(self._descriptor)
                self._is_watched = False
            os.close(self._descriptor)
            self._descriptor = -1

    def _widen(self) -> None:
        """Let more wait in the pipe while a piece is on its way, and bring it in fewer reads."""
        self._bytes = LOUD_BYTES
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or beyond the user's share
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, LOUD_BYTES)


class Watch:
    """Watches any number of descriptors, for a loop that watches one: that of their epoll(7).

    The loop has an object and several steps for each that it watches itself. Where there is no
    epoll it does.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._hear)

    def add(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call in the loop while there is something to read, or an end."""
        if self._epoll is None:
            self._loop.add_reader(descriptor, call)
        else:
            self._epoll.register(descriptor, select.EPOLLIN)
            self._calls[descriptor] = call

    def remove(self, descriptor: int) -> None:
        """Call no more. To be said before it is closed."""
        if self._epoll is None:
            self._loop.remove_reader(descriptor)
        elif self._calls.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def forget(self, descriptor: int) -> None:
        """Call no more, since it is closed now: that takes it out of the epoll as well."""
        if self._epoll is None:
            self._loop.remove_reader(descriptor)
        else:
            self._calls.pop(descriptor, None)

    def close(self) -> None:
        """Watch nothing any more; may be repeated."""
        self._calls.clear()
        if self._epoll is not None and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _hear(self) -> None:
        assert self._epoll is not None  # noqa: S101  the loop watches it
        for descriptor, _ in self._epoll.poll(0):
            call = self._calls.get(descriptor)
            if call is not None:  # else the call before this one removed it
                call()


def open_pipes(watch: Watch) -> tuple[tuple[Pipe, Pipe], list[int]]:
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
    return (Pipe(ours[0], watch), Pipe(ours[1], watch)), theirs
