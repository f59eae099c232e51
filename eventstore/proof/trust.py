"""What a log is held against that is not in it: keys, and copies that are kept elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reactorcide.eventstore.merkle import TileId
from reactorcide.eventstore.proof.rows import Copy
from reactorcide.eventstore.signed_note import NoteBroken, TreeHead, Verifier


class TileCopies(Protocol):
    """Tiles that were handed out before, and are kept elsewhere."""

    place: str

    def tile(self, tile: TileId) -> bytes | None:
        """Return the widest copy of a tile; None where there is none."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a log is held against that is not in it."""

    keys: Sequence[Verifier]
    """Whose signatures count: one, or those that came one after the other. Their name is the
    log's."""
    copies: Sequence[Copy] = ()
    """Signed checkpoints kept elsewhere."""
    tiles: Sequence[TileCopies] = ()

    def head(self, note: str) -> TreeHead:
        """Return what a checkpoint says that one of the keys signed. Raises NoteBroken."""
        broken = NoteBroken("there is no key to verify it with")
        for key in self.keys:
            try:
                head = TreeHead.parse(key.open(note))
            except NoteBroken as error:
                broken = error
                continue
            if head.origin != key.name:
                detail = f"it is about another log: {head.origin}"
                raise NoteBroken(detail)
            return head
        raise broken
