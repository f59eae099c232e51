"""What lies in an artifacts directory, and what of it may be kept. Reads, and follows no link.

Every name is opened relative to the descriptor of the directory that it was found in, and never
through a symbolic link: whatever still changes there, nothing outside is read.
"""

import contextlib
import itertools
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from reactorcide.worker.coordinator import Kept
from reactorcide.worker.settings import ArtifactLimits

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATH_BYTES: Final = 1024
_LEVELS: Final = 64
_ENTRIES: Final = 100_000
_REFUSALS: Final = 20
_SHOWN_LETTERS: Final = 200
_UNPRINTED: Final = frozenset({"Cc", "Zl", "Zp"})

_KINDS: Final = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


class FoundFile(NamedTuple):
    """A file that may be kept."""

    parts: tuple[str, ...]
    size: int

    @property
    def path(self) -> str:
        """Its name, relative to the artifacts directory."""
        return "/".join(self.parts)


class Unkept(Exception):  # noqa: N818  named by what is so, like the rejections
    """A file that is not kept, and why: `name reason` is a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refusals:
    """What is not kept, for the job's log: some of it by name, the rest as a number."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._count = 0

    def add(self, name: str, reason: str) -> None:
        """Note one."""
        self._count += 1
        if self._count <= _REFUSALS:
            shown = ascii(name) if len(name) <= _SHOWN_LETTERS else ascii(name[:_SHOWN_LETTERS])
            self._said.append(f"artifact refused: {shown} {reason}")

    def lines(self) -> list[str]:
        """Return a line for each of the first, and one for all others."""
        more = self._count - len(self._said)
        return self._said + ([f"artifact refused: {more} more"] if more > 0 else [])


@contextmanager
def opened_directory(path: Path) -> Iterator[int | None]:
    """Lend the descriptor of a directory in which something is; None: there is nothing to keep.

    A few system calls. Raises Unkept: something else is in its place, or it can't be read.
    """
    try:
        descriptor = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise Unkept(reason) from error
    try:
        with os.scandir(descriptor) as entries:
            is_empty = next(entries, None) is None
        yield None if is_empty else descriptor
    finally:
        os.close(descriptor)


class Look:
    """Looks through a directory once; says what may be kept and what not. To be run in a thread."""

    def __init__(self, limits: ArtifactLimits, kept: Kept, hides: Callable[[str], bool]) -> None:
        """`kept`: what the job has left already; `hides`: a text that may not be shown."""
        self._limits = limits
        self._hides = hides
        self._files_left = limits.files - kept.files
        self._bytes_left = limits.job_bytes - kept.bytes
        self._entries = 0
        self.files: list[FoundFile] = []
        self.refusals = Refusals()

    def through(self, directory: int, parts: tuple[str, ...] = ()) -> None:
        """Look at all that is in a directory and below, in the order of the names."""
        with os.scandir(directory) as entries:
            found = list(itertools.islice(entries, _ENTRIES - self._entries + 1))
        for entry in sorted(found, key=lambda entry: entry.name):
            self._entries += 1
            if self._entries > _ENTRIES:
                self.refusals.add("/".join(parts) or ".", f"holds more than {_ENTRIES} entries")
                return
            try:
                self._take(directory, (*parts, entry.name))
            except Unkept as unkept:
                self.refusals.add("/".join((*parts, entry.name)), unkept.reason)
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
                self.refusals.add("/".join((*parts, entry.name)), reason)

    def _take(self, directory: int, parts: tuple[str, ...]) -> None:
        """Take one entry. Raises Unkept and OSError."""
        name = parts[-1]
        self._check_name(parts)
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            if len(parts) >= _LEVELS:
                reason = f"is more than {_LEVELS} directories deep"
                raise Unkept(reason)
            with _opened(name, directory, _DIRECTORY) as below:
                self.through(below, parts)
            return
        for is_kind, words in _KINDS:
            if is_kind(found.st_mode):
                raise Unkept(words)
        self._check_size(found.st_size)
        self.files.append(FoundFile(parts, found.st_size))

    def _check_name(self, parts: Sequence[str]) -> None:
        path = "/".join(parts)
        try:
            size = len(path.encode())
        except UnicodeEncodeError:
            reason = "is not UTF-8"
            raise Unkept(reason) from None
        if any(unicodedata.category(letter) in _UNPRINTED for letter in parts[-1]):
            reason = "has control characters in its name"
            raise Unkept(reason)
        if size > _PATH_BYTES:
            reason = f"has a name of more than {_PATH_BYTES} bytes"
            raise Unkept(reason)
        if self._hides(path):
            reason = "has a secret value in its name"
            raise Unkept(reason)

    def _check_size(self, size: int) -> None:
        limits = self._limits
        if size > limits.file_bytes:
            reason = f"has {size} bytes, more than {limits.file_bytes}"
        elif self._files_left <= 0:
            reason = f"is beyond the {limits.files} files of a job"
        elif size > self._bytes_left:
            reason = f"is beyond the {limits.job_bytes} bytes of a job"
        else:
            self._files_left -= 1
            self._bytes_left -= size
            return
        raise Unkept(reason)


def open_file(directory: int, parts: Sequence[str]) -> int:
    """Open a file that was found, step by step. Raises Unkept: it is not what it was."""
    with contextlib.ExitStack() as stack:
        try:
            for part in parts[:-1]:
                directory = stack.enter_context(_opened(part, directory, _DIRECTORY))
            descriptor = os.open(parts[-1], _FILE, dir_fd=directory)
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            raise Unkept(reason) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    reason = "is not a file any more"
    raise Unkept(reason)


@contextmanager
def _opened(name: str, directory: int, flags: int) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
