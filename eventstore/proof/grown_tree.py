"""The tree that a walk grows from the leaves it finds, held against the stored tiles above them.

It knows no signature: whether a tile that does not fit was changed before or after something
was signed is for others to say.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reactorcide.eventstore.merkle import (
    HASH_BYTES,
    TILE_WIDTH,
    TileId,
    Tree,
    edges_of,
    root_of,
    width_of,
)
from reactorcide.eventstore.proof.rows import SealedTile, SignedCheckpoint


class Misfit(NamedTuple):
    """A stored hash that is not the one that the events make."""

    position: int
    """Where the tile of leaves that it is about begins."""
    end: int
    """How many leaves it takes to make it."""
    detail: str


class GrownTree:
    """Grows leaf tile by leaf tile; `stored` are the tiles above the leaves."""

    def __init__(self, stored: Mapping[TileId, bytes]) -> None:
        self._stored = stored
        self._tree = Tree()
        self._edges: dict[TileId, bytes] = {}
        self._begins = array("q")

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self._tree.size

    def root(self) -> bytes:
        """Return the root over all of them."""
        return self._tree.root()

    def begin_tile(self, position: int) -> None:
        """Take note of where the next tile of leaves begins in the log."""
        self._begins.append(position)

    def append(self, leaves: bytes) -> None:
        """Grow by leaves."""
        if leaves:
            self._edges |= self._tree.append(leaves)

    def is_above(
        self, tile: SealedTile, leaves: bytes, checkpoints: Iterable[SignedCheckpoint]
    ) -> bool:
        """Say whether a tile's leaves, as its events make them, fit what is kept above it.

        That is the next thing to be appended, and has not been.
        """
        if len(leaves) != tile.width * HASH_BYTES:
            return False
        if tile.width == TILE_WIDTH:
            above = self._stored.get(TileId(1, tile.tile // TILE_WIDTH), b"")
            at = tile.tile % TILE_WIDTH * HASH_BYTES
            if root_of(leaves) == above[at : at + HASH_BYTES]:
                return True
        size = self._tree.size + tile.width
        grown = Tree(self._tree.size, [self._edges.get(one, b"") for one in edges_of(self.size)])
        grown.append(leaves)
        root = grown.root()
        return any(one.tree_size == size and one.root == root for one in checkpoints)

    def full_misfits(self) -> Iterator[Misfit]:
        """Compare stored tiles above the leaves, each once: when it has become full."""
        for tile, hashes in list(self._edges.items()):
            is_full = len(hashes) == TILE_WIDTH * HASH_BYTES
            if tile.level == 0 or is_full:
                del self._edges[tile]
            if tile.level and is_full and self._stored.get(tile, b"") != hashes:
                yield self._misfit(tile, hashes)

    def edge_misfits(self, *, is_cut_short: bool) -> Iterator[Misfit]:
        """Compare the stored tiles that are not full yet.

        Where the walk was cut short, they may hold more than it came to.
        """
        for tile, made in self._edges.items():
            stored = self._stored.get(tile, b"")
            fits = stored.startswith(made) if is_cut_short else stored == made
            if tile.level and not fits:
                yield self._misfit(tile, made)

    def surplus(self) -> TileId | None:
        """Return a stored tile that is about no leaf."""
        return next((tile for tile in self._stored if not width_of(tile, self.size)), None)

    def _misfit(self, tile: TileId, made: bytes) -> Misfit:
        stored = self._stored.get(tile, b"")
        both = enumerate(zip(hashes_in(made), hashes_in(stored), strict=False))
        nth = next((nth for nth, (one, other) in both if one != other), None)
        if nth is None:
            nth = min(len(made), len(stored)) // HASH_BYTES
        tiles_each = TILE_WIDTH ** (tile.level - 1)
        begin = (tile.tile * TILE_WIDTH + nth) * tiles_each
        return Misfit(
            self._begins[min(begin, len(self._begins) - 1)],
            (begin + tiles_each) * TILE_WIDTH,
            f"hash {nth} of tile {tile.tile} of level {tile.level} is not what the events make",
        )


def hashes_in(row: bytes) -> Iterator[bytes]:
    """Yield the hashes that stand one behind the other."""
    return (row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES))
