"""Writes files below one directory and never outside of it, whatever their names say."""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NameRefusedError(Exception):
    """A name that does not lie below the directory."""


@contextmanager
def directory_at(path: Path) -> Iterator[int]:
    """Lend a directory, made when missing. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def save(root: int, name: str, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all; `name` has `/` between its parts.

    Links below the directory are not followed. Raises NameRefusedError, OSError, and what
    `pieces` raises.
    """
    *folders, last = _parts(name)
    with contextlib.ExitStack() as stack:
        directory = root
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, dir_fd=directory)
            directory = os.open(folder, _DIRECTORY, dir_fd=directory)
            stack.callback(os.close, directory)
        draft = f".{secrets.token_hex(8)}.part"
        try:
            with os.fdopen(os.open(draft, _NEW, 0o666, dir_fd=directory), "wb") as file:
                for piece in pieces:
                    file.write(piece)
            os.replace(draft, last, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft, dir_fd=directory)
            raise


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise NameRefusedError(name)
    return parts
