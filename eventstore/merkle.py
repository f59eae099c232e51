"""The Merkle tree of RFC 6962: hashes, a tree that grows, proofs and how they are verified.

Pure: bytes in, bytes out. Stored as C2SP tlog-tiles wants it: tile n of level 0 has the hashes
of leaves 256 n to 256 n + 255, each hash of a higher level is the root of a whole tile of the
level below. What a leaf says is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT: Final = sha256().digest()

_BITS: Final = 8
"""Levels of the tree in a tile."""

Range: TypeAlias = tuple[int, int]
"""Leaves from (included) and to (not included); one that the tree has a hash for."""


class TileId(NamedTuple):
    """Which tile."""

    level: int
    tile: int


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: bytes) -> bytes:
    """Return the root over leaf hashes (or over roots of equal subtrees), 32 bytes each."""
    if not hashes:
        return EMPTY_ROOT
    row = hashes
    while len(row) > HASH_BYTES:
        odd = row[-HASH_BYTES:] if len(row) // HASH_BYTES % 2 else b""
        pairs = range(0, len(row) - len(odd), 2 * HASH_BYTES)
        row = b"".join([sha256(b"\x01" + row[at : at + 64]).digest() for at in pairs]) + odd
    return row


class Tree:
    """A tree that grows at its end: keeps no more than the last, partial tile of each level."""

    def __init__(self, size: int = 0, edges: Iterable[bytes] = ()) -> None:
        """Begin empty, or with the partial tile of each level of a tree of `size` (`edges_of`)."""
        self.size = size
        self._edges = list(edges)
        widths = [len(edge) // HASH_BYTES for edge in self._edges]
        if widths != [size >> (_BITS * level) & 255 for level in range(len(widths))]:
            msg = f"tiles of widths {widths} are not the edge of a tree of {size} leaves"
            raise ValueError(msg)

    def append(self, leaf_hashes: bytes) -> dict[TileId, bytes]:
        """Grow by leaves; return the hashes of every tile that is new or wider now."""
        changed: dict[TileId, bytes] = {}
        hashes, level = leaf_hashes, 0
        while hashes:
            if level == len(self._edges):
                self._edges.append(b"")
            first = self.size >> (_BITS * (level + 1))
            row = self._edges[level] + hashes
            tiles = [row[at : at + TILE_BYTES] for at in range(0, len(row), TILE_BYTES)]
            changed |= {TileId(level, first + nth): tile for nth, tile in enumerate(tiles)}
            self._edges[level] = b"" if len(tiles[-1]) == TILE_BYTES else tiles.pop()
            hashes = b"".join(map(root_of, tiles))
            level += 1
        self.size += len(leaf_hashes) // HASH_BYTES
        return changed

    def root(self) -> bytes:
        """Return the root over all leaves."""
        peaks: list[bytes] = []
        for edge in reversed(self._edges):
            at, width = 0, len(edge) // HASH_BYTES
            for bit in reversed(range(_BITS)):
                if width >> bit & 1:
                    end = at + (HASH_BYTES << bit)
                    peaks.append(root_of(edge[at:end]))
                    at = end
        return _joined(peaks)


def edges_of(size: int) -> list[TileId]:
    """Return the last tile of each level of a tree, the empty ones too; see `Tree`."""
    levels = max(size.bit_length() - 1, 0) // _BITS + 1 if size else 0
    return [TileId(level, size >> (_BITS * (level + 1))) for level in range(levels)]


def width_of(tile: TileId, size: int) -> int:
    """Return how many hashes a tile has in a tree of `size` leaves."""
    hashes = size >> (_BITS * tile.level)
    return max(0, min(TILE_WIDTH, hashes - tile.tile * TILE_WIDTH))


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return what an inclusion proof has the hashes of, from the leaf upwards (2.1.1).

    Raises ValueError when the tree has no such leaf.
    """
    if not 0 <= index < size:
        msg = f"a tree of {size} leaves has no leaf {index}"
        raise ValueError(msg)
    found, (begin, end) = [], (0, size)
    while end - begin > 1:
        middle = begin + _half(end - begin)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def consistency_ranges(old_size: int, size: int) -> list[Range]:
    """Return what a consistency proof has the hashes of, in its order (2.1.2).

    Raises ValueError unless 0 < old_size <= size.
    """
    if not 0 < old_size <= size:
        msg = f"nothing proves a tree of {size} leaves consistent with one of {old_size}"
        raise ValueError(msg)
    found, (begin, end) = [], (0, size)
    while old_size != end:
        middle = begin + _half(end - begin)
        if old_size <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    if begin:
        found.append((begin, end))
    return found[::-1]


def tiles_of(ranges: Iterable[Range]) -> set[TileId]:
    """Return the tiles that `hash_of` needs for these ranges."""
    return {_place(*node)[0] for one in ranges for node in _nodes(one)}


def hash_of(leaves: Range, tiles: Mapping[TileId, bytes]) -> bytes:
    """Return the hash of a range; a tile may be wider than it was at that tree's time."""
    peaks = []
    for node in _nodes(leaves):
        tile, begin, end = _place(*node)
        hashes = tiles[tile][begin:end]
        if len(hashes) != end - begin:
            msg = f"tile {tile.tile} of level {tile.level} is cut short"
            raise ValueError(msg)
        peaks.append(root_of(hashes))
    return _joined(peaks)


def root_at(size: int, tiles: Mapping[TileId, bytes]) -> bytes:
    """Return the root of a tree, given the tiles that `tiles_of([(0, size)])` names."""
    return hash_of((0, size), tiles)


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether the proof shows that a tree with this root has this leaf (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for one in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = inner_hash(one, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = inner_hash(found, one)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(
    old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether the proof shows that the larger tree begins with the old (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_found = found = path[0]
    for one in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_found, found = inner_hash(one, old_found), inner_hash(one, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = inner_hash(found, one)
        node, last = node >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root


def _half(count: int) -> int:
    """Return the largest power of two below a count of two at least."""
    return 1 << ((count - 1).bit_length() - 1)


def _nodes(leaves: Range) -> Iterable[tuple[int, int]]:
    """Yield (height, index) of the whole subtrees that a range is made of, the largest first."""
    begin, end = leaves
    while begin < end:
        height = (end - begin).bit_length() - 1
        yield height, begin >> height
        begin += 1 << height


def _place(height: int, index: int) -> tuple[TileId, int, int]:
    """Return where the hashes below a node are: the tile, and the bytes from and to."""
    level, above = divmod(height, _BITS)
    first = index << above
    at = first % TILE_WIDTH * HASH_BYTES
    return TileId(level, first // TILE_WIDTH), at, at + (HASH_BYTES << above)


def _joined(peaks: Sequence[bytes]) -> bytes:
    """Return the root over whole subtrees, the largest first."""
    if not peaks:
        return EMPTY_ROOT
    found = peaks[-1]
    for peak in reversed(peaks[:-1]):
        found = inner_hash(peak, found)
    return found
