"""What is verified, wherever it comes from: sealed tiles, signed checkpoints, and pages of both.

Events are rows as COPY writes them (`leaves.RawEvent`): nothing is lost on the way to a hash.
"""

from collections.abc import Sequence
from typing import NamedTuple

from reactorcide.eventstore.leaves import RawEvent


class SealedTile(NamedTuple):
    """What was kept when up to 256 events were sealed; leaf n has the nth part of each field."""

    tile: int
    first_position: int
    last_position: int
    width: int
    positions: Sequence[int]
    salts: bytes
    payload_hashes: bytes
    leaf_hashes: bytes


class SignedCheckpoint(NamedTuple):
    """What was signed, and what its row says beside the signed text."""

    tree_size: int
    root: bytes
    last_position: int
    note: str


class Copy(NamedTuple):
    """A signed checkpoint that was kept outside of the database."""

    note: str
    place: str
    """Where, for people."""


class Page(NamedTuple):
    """A stretch of the log, in order: some tiles, and all events up to the last of them."""

    tiles: Sequence[SealedTile]
    events: Sequence[RawEvent]
    checkpoints: Sequence[SignedCheckpoint]
    """Of the trees that end in these tiles."""
