"""What was signed and handed out before, where it is kept: an object store, or directories.

A directory may be any of: what a log publishes (C2SP tlog-tiles: `checkpoint` and `tile/…`), a
copy of the object store's `audit/checkpoints`, or files with one checkpoint each.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reactorcide.eventstore.merkle import HASH_BYTES, TileId
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.proof.rows import Copy
from reactorcide.eventstore.signed_note import NoteBroken, TreeHead

NEWEST: Final = 100
"""So many copies are fetched from an object store: the newest stands for all before it."""

_LARGEST_BYTES: Final = 65_536
_FOLDERS: Final = (".", "checkpoints", "audit/checkpoints")


class NoCheckpoints(Exception):  # noqa: N818  named by what is so, like the rejections
    """A directory that should have copies has none."""


async def in_store(objects: ObjectStore, prefix: str) -> list[Copy]:
    """Return the newest checkpoints that were copied to a store. Raises ObjectStoreError."""
    keys = await objects.keys(prefix)
    sizes = [name for name in (key.rpartition("/")[2] for key in keys) if name.isdecimal()]
    newest = sorted(sizes, key=int)[-NEWEST:]
    place = f"the object store {objects.url}"
    return [
        Copy((await objects.read(f"{prefix}/{size}")).decode(errors="replace"), place)
        for size in newest
    ]


class Directory:
    """A directory with checkpoints, and perhaps tiles. Raises NoCheckpoints where none is."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path
        self.copies = tuple(Copy(note, self.place) for note in _notes(path))
        if not self.copies:
            raise NoCheckpoints(path)

    def tile(self, tile: TileId) -> bytes | None:
        """Return the widest copy of a tile; None where there is none."""
        whole = self._path / tile_path(tile)
        if whole.is_file():
            return whole.read_bytes()
        partial = whole.with_name(whole.name + ".p")
        widths = [int(one.name) for one in _files(partial) if one.name.isdecimal()]
        if not widths:
            return None
        widest = max(widths)
        return (partial / str(widest)).read_bytes()[: widest * HASH_BYTES]


def tile_path(tile: TileId) -> str:
    """Return where a whole tile is: https://c2sp.org/tlog-tiles."""
    index = tile.tile
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03}")
    return f"tile/{tile.level}/{'/'.join(reversed(parts))}"


def _notes(path: Path) -> Iterator[str]:
    for folder in _FOLDERS:
        for file in sorted(_files(path / folder)):
            if file.stat().st_size <= _LARGEST_BYTES:
                note = file.read_text("utf-8", errors="replace")
                if _is_checkpoint(note):
                    yield note


def _files(path: Path) -> list[Path]:
    return [one for one in path.iterdir() if one.is_file()] if path.is_dir() else []


def _is_checkpoint(note: str) -> bool:
    try:
        TreeHead.parse(note.rpartition("\n\n")[0] + "\n")
    except NoteBroken:
        return False
    return True
