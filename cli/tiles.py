"""A copy of the signed tree in a directory, as C2SP tlog-tiles lays it out.

Whole tiles never change: only those that are missing are fetched, so the copy of a log is made
again and again at the price of what is new. The checkpoint comes last: whoever reads it finds
all tiles of its tree.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

from reactorcide.cli.saving import directory_at, save

_WIDTH: Final = 256
_HASH_BYTES: Final = 32
_TILE_BYTES: Final = _WIDTH * _HASH_BYTES
_AT_ONCE: Final = 256

Fetch: TypeAlias = Callable[[int, int, int], bytes]
"""Returns the hashes of tiles of a level: from one on, so many."""


class CutShortError(Exception):
    """The server gave fewer hashes than the checkpoint's tree has."""


def write_tree(directory: Path, tree_size: int, note: str, fetch: Fetch) -> int:
    """Bring the directory up to a checkpoint; return how many tiles were written.

    Raises OSError, CutShortError, and what `fetch` raises.
    """
    written = 0
    with directory_at(directory) as root:
        for level in count():
            hashes = tree_size >> (8 * level)
            if not hashes:
                break
            for name, tile in _missing(directory, level, hashes, fetch):
                save(root, name, [tile])
                written += 1
        save(root, "checkpoint", [note.encode()])
    return written


def _missing(directory: Path, level: int, hashes: int, fetch: Fetch) -> Iterator[tuple[str, bytes]]:
    """Yield the tiles of a level that the directory has not, with their names."""
    tiles = -(-hashes // _WIDTH)
    first = _first_missing(directory, level, hashes // _WIDTH)
    for begin in range(first, tiles, _AT_ONCE):
        end = min(begin + _AT_ONCE, tiles)
        found = memoryview(fetch(level, begin, end - begin))
        for tile in range(begin, end):
            width = min(_WIDTH, hashes - tile * _WIDTH)
            at = (tile - begin) * _TILE_BYTES
            content = bytes(found[at : at + width * _HASH_BYTES])
            if len(content) < width * _HASH_BYTES:
                message = f"tile {tile} of level {level} is cut short"
                raise CutShortError(message)
            yield _name(level, tile, width), content


def _first_missing(directory: Path, level: int, whole: int) -> int:
    """Return the first whole tile that is not there: they were written in order."""
    low, high = 0, whole
    while low < high:
        middle = (low + high) // 2
        if (directory / _name(level, middle, _WIDTH)).exists():
            low = middle + 1
        else:
            high = middle
    return low


def _name(level: int, tile: int, width: int) -> str:
    """Return a tile's path: three digits in each part, all but the last with an x before them."""
    digits = f"{tile:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{level}/{path}" + ("" if width == _WIDTH else f".p/{width}")
