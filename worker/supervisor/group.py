"""One control group as the kernel's files tell of it: who is in it, its end, its removal.

Files and calls are those of cgroup v2 (admin-guide/cgroup-v2.rst of Linux). Which groups there
are, and where, is said by others.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

GONE: Final = frozenset((errno.ENOENT, errno.ENODEV))
"""What the kernel says about a group that is not there, or no more."""

_BYTES: Final = 65_536


class NoGroup:
    """Knows of nobody."""

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """Lend the descriptor that a program can be born by. Raises OSError."""
        yield None

    def pids(self) -> set[int]:
        """Return who is in it, or in a group within it."""
        return set()

    def kill(self) -> None:
        """Send KILL to all at once, also to whoever is being born meanwhile."""

    def is_empty(self) -> bool:
        """Return whether nobody alive is left in it, nor in a group within it."""
        return True

    def remove(self) -> None:
        """Remove it if it is empty, with all groups within it; may be repeated."""


class Group(NoGroup):
    """The group at a path."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """See NoGroup."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def pids(self) -> set[int]:
        """See NoGroup; those that this process's namespace has no pid for are left out."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self._path):
            with contextlib.suppress(OSError):
                found.update(map(int, read(f"{folder}/cgroup.procs").split()))
        return found - {0}

    def kill(self) -> None:
        """See NoGroup."""
        with contextlib.suppress(OSError):
            _write(f"{self._path}/cgroup.kill", b"1")

    def is_empty(self) -> bool:
        """See NoGroup: dead ones that nobody asked about yet do not count."""
        try:
            return "populated 0" in read(f"{self._path}/cgroup.events")
        except OSError as error:
            return error.errno in GONE

    def remove(self) -> None:
        """See NoGroup."""
        _remove(self._path)


def read(path: str) -> str:
    """Return what a file of the kernel says now. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while more := os.read(descriptor, _BYTES):
            text += more
    finally:
        os.close(descriptor)
    return os.fsdecode(text)


def _remove(path: str) -> None:
    """Remove a group and those within it, as far as they are empty."""
    try:
        os.rmdir(path)  # noqa: PTH106  as above
    except OSError as error:
        if error.errno in GONE:
            return
        with contextlib.suppress(OSError):
            with os.scandir(path) as entries:
                for within in [entry.path for entry in entries if entry.is_dir()]:
                    _remove(within)
            os.rmdir(path)  # noqa: PTH106  as above


def _write(path: str, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)
