"""One sealed tile against the events that should be its leaves: everything is hashed again."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from reactorcide.eventstore.leaves import SALT_BYTES, RawEvent, UnreadableData
from reactorcide.eventstore.merkle import HASH_BYTES, TILE_WIDTH
from reactorcide.eventstore.proof.findings import Finding, Wrong
from reactorcide.eventstore.proof.redactions import NO_SALT, Redactions, canonical_data
from reactorcide.eventstore.proof.rows import SealedTile

_NOT_SEALED: Final = "it was not sealed with its neighbours"


class Hashed(NamedTuple):
    """What the events make of a tile's leaves."""

    leaves: bytes
    """The hashes of the leaves, up to the first that has no event, or has another's."""
    sound: int
    """So many of them are as they were sealed."""
    finding: Finding | None
    suspect: RawEvent | None = None
    """The event that is not what was sealed at its position; it may be another's."""
    is_leaf: bool = False
    """Its leaf is another than the tile's: either of them was changed."""


def shape(tile: SealedTile, number: int, last_position: int) -> str | None:
    """Say what can't be of a tile that comes as the `number`th, after `last_position`."""
    positions = tile.positions
    ascending = [last_position, *positions]
    if tile.tile != number:
        return f"tile {number} is missing, tile {tile.tile} comes in its place"
    if not 1 <= tile.width <= TILE_WIDTH or len(positions) != tile.width:
        return f"tile {number} does not have the width that it says"
    if (len(tile.salts), len(tile.payload_hashes), len(tile.leaf_hashes)) != (
        SALT_BYTES * tile.width,
        HASH_BYTES * tile.width,
        HASH_BYTES * tile.width,
    ):
        return f"tile {number} lacks salts or hashes"
    if any(one >= other for one, other in zip(ascending, positions, strict=False)):
        return f"the positions of tile {number} do not ascend"
    if (tile.first_position, tile.last_position) != (positions[0], positions[-1]):
        return f"tile {number} does not begin and end where it says"
    return None


def hashed(
    tile: SealedTile, events: Sequence[RawEvent], redactions: Redactions, last: int
) -> Hashed:
    """Hash the events as leaves, up to the first that is wrong.

    `last` is the last position of all events that there are.
    """
    leaves: list[bytes] = []
    found: tuple[int, Finding, RawEvent, bool] | None = None
    finding: Finding | None
    salts = _parts(tile.salts, SALT_BYTES)
    seals = zip(salts, _parts(tile.payload_hashes), _parts(tile.leaf_hashes), strict=True)
    for event, position, (salt, sealed, stored) in zip(events, tile.positions, seals, strict=False):
        if int(event.position) != position:
            finding = _misplaced(event, position, last)
            break
        try:
            payload: bytes | None = event.payload_hash(salt)
        except UnreadableData:
            payload = None
        leaf = event.leaf_hash(sealed)
        if leaf != stored:
            # Whether the event or the tile was changed is seen by what is above the tile.
            if payload is not None and payload != sealed and salt != NO_SALT:
                leaf = event.leaf_hash(payload)
            wrong = _wrong(event, Wrong.EDITED, "it is not what was sealed")
            found = found or (len(leaves), wrong, event, True)
        elif payload != sealed:
            if salt == NO_SALT and payload is not None:
                redactions.saw(event, canonical_data(event))
            else:
                wrong = _wrong(
                    event, Wrong.EDITED, "its data, or their salt, are not what was sealed"
                )
                found = found or (len(leaves), wrong, event, False)
        leaves.append(leaf)
    else:
        finding = _surplus(tile, events, last)
    if found is not None:
        return Hashed(b"".join(leaves), *found)
    return Hashed(b"".join(leaves), len(leaves), finding)


def _parts(row: bytes, each: int = HASH_BYTES) -> list[bytes]:
    return [row[at : at + each] for at in range(0, len(row), each)]


def _surplus(tile: SealedTile, events: Sequence[RawEvent], last: int) -> Finding | None:
    """Say that there are more events than leaves, or less."""
    if len(events) < tile.width:
        return _gone(tile.positions[len(events)], last)
    if len(events) > tile.width:
        return _wrong(events[tile.width], Wrong.INSERTED, _NOT_SEALED)
    return None


def _misplaced(event: RawEvent, position: int, last: int) -> Finding:
    """Say what it means that another event comes where `position` should."""
    if int(event.position) > position:
        return _gone(position, last)
    return _wrong(event, Wrong.INSERTED, _NOT_SEALED)


def _gone(position: int, last: int) -> Finding:
    if position > last:
        return Finding(Wrong.TAIL_CUT, position, "the events from here on were sealed and are gone")
    return Finding(Wrong.DELETED, position, "the event that was sealed here is gone")


def _wrong(event: RawEvent, kind: Wrong, detail: str) -> Finding:
    return Finding(
        kind, int(event.position), detail, event.stream_type.decode(), event.stream_id.decode()
    )


def sealed_at(event: RawEvent, tile: SealedTile) -> int | None:
    """Return the position at which an event was sealed, if it is one of a tile.

    For an event that is not what was sealed at its own position. Its data alone say nothing: many
    events have the same.
    """
    try:
        data = canonical_data(event)
    except ValueError:
        return None
    seals = zip(
        tile.positions,
        _parts(tile.salts, SALT_BYTES),
        _parts(tile.payload_hashes),
        _parts(tile.leaf_hashes),
        strict=False,
    )
    for position, salt, sealed, leaf in seals:
        if sha256(salt + data).digest() != sealed:
            continue
        moved = event._replace(position=b"%d" % position)
        if moved.leaf_hash(sealed) == leaf:
            return position
    return None
