"""Copies a directory tree that others may change meanwhile, and never leaves it.

Everything is opened from the directory that it is in, and no link is followed (openat(2),
O_NOFOLLOW): a name that becomes a link while it is looked at is refused, not read.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reactorcide.worker.halt import Halt
from reactorcide.worker.workspace import PreparationFailed

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST: Final = 200
_PIECE_BYTES: Final = 1024 * 1024


class Halted(Exception):  # noqa: N818  named by what is so, like the rejections
    """The attempt was asked to stop while its source was on the way."""


def allowed(text: str, roots: Sequence[Path]) -> Path:
    """Return the real path, links resolved, if it is a directory below one of the roots.

    Raises PreparationFailed.
    """
    path = Path(text)
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError):
        real = None
    if not path.is_absolute() or root_of(real or Path(os.path.normpath(path)), roots) is None:
        # Said first, so that nobody learns what is outside.
        detail = f"{text!r} is not below a directory that this worker may copy from"
        raise PreparationFailed(detail)
    if real is None or not real.is_dir():
        detail = f"{text!r} is not a directory on this worker"
        raise PreparationFailed(detail)
    return real


def root_of(path: Path, roots: Sequence[Path]) -> Path | None:
    """Return the root that a path is below, links in the root's own path resolved."""
    return next((real for root in roots if path.is_relative_to(real := root.resolve())), None)


def copy_tree(text: str, roots: Sequence[Path], target: Path, halt: Halt) -> None:
    """Copy the directory that `text` names into `target`; links stay links, wherever they lead.

    Files keep their permissions and times, not their owners. Raises PreparationFailed, for what
    is no file, directory or link too, and Halted.
    """
    source = allowed(text, roots)
    root = root_of(source, roots)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with (
            _opened(root or source, None) as top,
            _descended(top, source.relative_to(root or source).parts) as from_,
            _opened(target, None) as to,
        ):
            _Copying(source, halt).copy(from_, to, ())
    except OSError as error:
        detail = f"{text!r} could not be copied: {error.strerror}"
        raise PreparationFailed(detail) from error


@contextmanager
def _opened(path: str | Path, at: int | None) -> Iterator[int]:
    descriptor = os.open(path, _DIRECTORY, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _descended(top: int, parts: Sequence[str]) -> Iterator[int]:
    """Open a directory below another, name by name."""
    at = os.dup(top)
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


class _Copying:
    """One tree on its way."""

    def __init__(self, source: Path, halt: Halt) -> None:
        self._source = source
        self._halt = halt

    def copy(self, from_: int, to: int, where: tuple[str, ...]) -> None:
        """Copy what is in one open directory to another."""
        if len(where) > _DEEPEST:
            self._refuse(where, f"is more than {_DEEPEST} directories deep")
        for name in os.listdir(from_):
            if self._halt.is_asked:
                raise Halted
            self._copy_one(name, from_, to, (*where, name))

    def _copy_one(self, name: str, from_: int, to: int, where: tuple[str, ...]) -> None:
        mode = os.stat(name, dir_fd=from_, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=from_), name, dir_fd=to)
        elif stat.S_ISDIR(mode):
            self._copy_directory(name, from_, to, where)
        elif stat.S_ISREG(mode):
            self._copy_file(name, from_, to, where)
        else:
            self._refuse(where, "is neither a file, a directory nor a link")

    def _copy_directory(self, name: str, from_: int, to: int, where: tuple[str, ...]) -> None:
        os.mkdir(name, mode=0o700, dir_fd=to)
        with _opened(name, from_) as inner, _opened(name, to) as made:
            self.copy(inner, made, where)
            _keep_facts(inner, made)

    def _copy_file(self, name: str, from_: int, to: int, where: tuple[str, ...]) -> None:
        reading = os.open(name, _FILE, dir_fd=from_)
        try:
            if not stat.S_ISREG(os.fstat(reading).st_mode):
                self._refuse(where, "is no file any more")
            writing = os.open(name, _NEW, mode=0o600, dir_fd=to)
            try:
                while os.sendfile(writing, reading, None, _PIECE_BYTES):
                    if self._halt.is_asked:
                        raise Halted
                _keep_facts(reading, writing)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _refuse(self, where: tuple[str, ...], what: str) -> None:
        detail = f"{str(self._source.joinpath(*where))!r} {what}"
        raise PreparationFailed(detail)


def _keep_facts(from_: int, to: int) -> None:
    """Give the copy the times and the permissions; nothing runs as another user."""
    facts = os.fstat(from_)
    os.utime(to, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.fchmod(to, facts.st_mode & 0o777)
