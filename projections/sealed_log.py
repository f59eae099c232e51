"""The log as a Merkle tree: `sealed_tiles`, `tree_tiles`, `signed_checkpoints`, `log_identity`.

All that the sealer writes and all queries for proofs. Hashes go in and out; what was hashed, and
who signs, is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore import merkle
from reactorcide.eventstore.archived import Sealed
from reactorcide.eventstore.database import Connection, Reader
from reactorcide.eventstore.leaves import Leaf
from reactorcide.eventstore.merkle import TILE_WIDTH, TileId, Tree

_LOG_ID: Final = "SELECT log_id FROM log_identity"
_SIZE: Final = "SELECT tile * 256 + width FROM sealed_tiles ORDER BY tile DESC LIMIT 1"

# The last tile grows on the server: a salt that was redacted meanwhile stays so.
_WRITE: Final = """
WITH leaves AS (
    INSERT INTO sealed_tiles AS s (
        tile, first_position, last_position, width, positions, salts, payload_hashes, leaf_hashes
    )
    SELECT
        p.tile, ($1::bigint[])[p.start + 1], ($1::bigint[])[p.start + p.width], p.width,
        ($1::bigint[])[p.start + 1 : p.start + p.width],
        substring($2::bytea FROM p.start * 16 + 1 FOR p.width * 16),
        substring($3::bytea FROM p.start * 32 + 1 FOR p.width * 32),
        substring($4::bytea FROM p.start * 32 + 1 FOR p.width * 32)
    FROM unnest($5::bigint[], $6::int[], $7::int[]) AS p (tile, start, width)
    ON CONFLICT (tile) DO UPDATE SET
        last_position = excluded.last_position,
        width = s.width + excluded.width,
        positions = s.positions || excluded.positions,
        salts = s.salts || excluded.salts,
        payload_hashes = s.payload_hashes || excluded.payload_hashes,
        leaf_hashes = s.leaf_hashes || excluded.leaf_hashes
), above AS (
    INSERT INTO tree_tiles (level, tile, hashes)
    SELECT * FROM unnest($8::smallint[], $9::bigint[], $10::bytea[])
    ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes
)
INSERT INTO signed_checkpoints (tree_size, root, last_position, note)
VALUES ($11, $12, ($1::bigint[])[cardinality($1::bigint[])], $13)"""

_TILES: Final = """
SELECT i.level, i.tile, coalesce(s.leaf_hashes, t.hashes)
FROM unnest($1::smallint[], $2::bigint[]) AS i (level, tile)
LEFT JOIN sealed_tiles AS s ON i.level = 0 AND s.tile = i.tile
LEFT JOIN tree_tiles AS t ON t.level = i.level AND t.tile = i.tile
WHERE coalesce(s.leaf_hashes, t.hashes) IS NOT NULL"""

_NEWEST: Final = """
SELECT tree_size, root, last_position, note, signed_at
FROM signed_checkpoints WHERE tree_size < $1 ORDER BY tree_size DESC LIMIT $2 OFFSET $3"""
_SIGNED: Final = """
SELECT tree_size, root, last_position, note, signed_at
FROM signed_checkpoints WHERE tree_size = $1"""

_PLACE: Final = """
SELECT
    tile * 256 + nth - 1, substring(payload_hashes FROM nth * 32 - 31 FOR 32),
    substring(leaf_hashes FROM nth * 32 - 31 FOR 32)
FROM (
    SELECT *, array_position(positions, $1) AS nth FROM (
        SELECT * FROM sealed_tiles
        WHERE first_position <= $1 ORDER BY first_position DESC LIMIT 1
    ) AS around
) AS found
WHERE nth IS NOT NULL"""

_TILES_PART: Final = """
FROM unnest($1::bigint[]) AS p (position)
CROSS JOIN LATERAL (
    SELECT * FROM sealed_tiles
    WHERE first_position <= p.position ORDER BY first_position DESC LIMIT 1
) AS t
CROSS JOIN LATERAL array_position(t.positions, p.position) AS nth
WHERE nth IS NOT NULL"""
_SEALS: Final = (
    """
SELECT
    p.position, t.tile * 256 + nth - 1, substring(t.salts FROM nth * 16 - 15 FOR 16),
    substring(t.payload_hashes FROM nth * 32 - 31 FOR 32),
    substring(t.leaf_hashes FROM nth * 32 - 31 FOR 32)"""
    + _TILES_PART
)
_PAYLOAD_HASHES: Final = (
    """
SELECT p.position, substring(t.payload_hashes FROM nth * 32 - 31 FOR 32)"""
    + _TILES_PART
)

_BEYOND: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """The root over the first leaves of the log, signed."""

    tree_size: int
    root: bytes
    last_position: int
    """Of the last leaf's event."""
    note: str
    signed_at: datetime


class Place(NamedTuple):
    """Where an event is in the tree."""

    leaf_index: int
    payload_hash: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Leaves that are appended together, with what they make of the tree."""

    leaves: Sequence[Leaf]
    """At least one."""
    salts: bytes
    tiles: Mapping[TileId, bytes]
    """As `Tree.append` returned them."""
    tree_size: int
    """With these leaves."""
    root: bytes
    note: str


async def origin(connection: Reader) -> str:
    """Return the name of this log, in its checkpoints and of its key."""
    log_id: UUID = await connection.fetchval(_LOG_ID)
    return f"reactorcide/{log_id}"


async def load(connection: Connection) -> Tree:
    """Return the tree as it is sealed, ready to grow."""
    size = await connection.fetchval(_SIZE) or 0
    wanted = merkle.edges_of(size)
    found = await tiles(connection, wanted)
    return Tree(size, [found.get(tile, b"") for tile in wanted])


async def write(connection: Connection, batch: Batch) -> None:
    """Append the leaves and the signed checkpoint, in a transaction that moves the checkpoint."""
    above = [(*tile, hashes) for tile, hashes in batch.tiles.items() if tile.level]
    levels, indexes, hashes = zip(*above, strict=True) if above else ((), (), ())
    await connection.execute(
        _WRITE,
        [leaf.position for leaf in batch.leaves],
        batch.salts,
        b"".join([leaf.payload_hash for leaf in batch.leaves]),
        b"".join([leaf.leaf_hash for leaf in batch.leaves]),
        *_pieces(batch.tree_size - len(batch.leaves), batch.tree_size),
        levels,
        indexes,
        hashes,
        batch.tree_size,
        batch.root,
        batch.note,
    )


def _pieces(size: int, grown: int) -> tuple[list[int], list[int], list[int]]:
    """Return which tiles the new leaves go to: tile, the first of them there, how many."""
    firsts = [size, *range(size - size % TILE_WIDTH + TILE_WIDTH, grown, TILE_WIDTH)]
    ends = [*firsts[1:], grown]
    return (
        [first // TILE_WIDTH for first in firsts],
        [first - size for first in firsts],
        [end - first for first, end in zip(firsts, ends, strict=True)],
    )


async def tiles(connection: Reader, wanted: Iterable[TileId]) -> dict[TileId, bytes]:
    """Return those tiles that there are, as wide as they are now."""
    some = list(wanted)
    found = await connection.fetch(_TILES, [one.level for one in some], [one.tile for one in some])
    return {TileId(level, tile): hashes for level, tile, hashes in found}


async def inclusion(connection: Reader, index: int, tree_size: int) -> list[bytes]:
    """Return the inclusion proof of a leaf in a tree that was sealed."""
    return await _hashes(connection, merkle.inclusion_ranges(index, tree_size))


async def consistency(connection: Reader, old_size: int, tree_size: int) -> list[bytes]:
    """Return the consistency proof of two trees that were sealed."""
    return await _hashes(connection, merkle.consistency_ranges(old_size, tree_size))


async def root_at(connection: Reader, tree_size: int) -> bytes:
    """Return the root over so many leaves."""
    (root,) = await _hashes(connection, [(0, tree_size)])
    return root


async def _hashes(connection: Reader, ranges: Sequence[merkle.Range]) -> list[bytes]:
    found = await tiles(connection, merkle.tiles_of(ranges))
    return [merkle.hash_of(one, found) for one in ranges]


async def newest(
    connection: Reader, limit: int = 1, below: int | None = None, offset: int = 0
) -> list[SignedCheckpoint]:
    """Return the newest checkpoints, those of trees below a size."""
    found = await connection.fetch(_NEWEST, _BEYOND if below is None else below, limit, offset)
    return [SignedCheckpoint(*row) for row in found]


async def signed(connection: Reader, tree_size: int) -> SignedCheckpoint | None:
    """Return the checkpoint of a tree of exactly this size, if one was signed."""
    row = await connection.fetchrow(_SIGNED, tree_size)
    return None if row is None else SignedCheckpoint(*row)


async def place_of(connection: Reader, position: int) -> Place | None:
    """Return where the event at a position is; None unless it is sealed."""
    row = await connection.fetchrow(_PLACE, position)
    return None if row is None else Place(*row)


async def payload_hashes_of(connection: Reader, positions: Sequence[int]) -> dict[int, bytes]:
    """Return the hashes of the data of those events at these positions that are sealed."""
    found = await connection.fetch(_PAYLOAD_HASHES, positions)
    return {row[0]: row[1] for row in found}


async def seals_of(connection: Reader, positions: Sequence[int]) -> dict[int, Sealed]:
    """Return what is known of the events at these positions, with their salts."""
    found = await connection.fetch(_SEALS, positions)
    return {position: Sealed(*seal) for position, *seal in found}
