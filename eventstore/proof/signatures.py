"""What was signed, held against what the events make: the database's rows, and copies elsewhere.

It counts the signatures that hold. It grows no tree, and does not say which event is wrong.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from reactorcide.eventstore.proof.findings import Finding, Wrong
from reactorcide.eventstore.proof.rows import Copy, SignedCheckpoint
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import NoteBroken, TreeHead

Flaw: TypeAlias = tuple[Wrong, str]
"""What is wrong with a checkpoint, whatever the events are that it is about."""

_DATABASE: Final = "the database"


class Signatures:
    """The signed checkpoints of one log."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._copies = _by_size(trust.copies)
        self.held = 0
        """So many hold."""

    def sizes(self, after: int, until: int) -> set[int]:
        """Return the sizes above `after`, up to `until`, that copies were signed for."""
        return {size for size in self._copies if after < size <= until}

    def flaw(
        self, size: int, root: bytes, last_position: int, rows: Iterable[SignedCheckpoint]
    ) -> Flaw | None:
        """Hold a tree against what was signed at its size: these rows, and then the copies."""
        for row in rows:
            flaw = self._judged(Copy(row.note, _DATABASE), size, root)
            if flaw is None and (row.root, row.last_position) != (root, last_position):
                flaw = Wrong.BAD_SIGNATURE, "the row of a checkpoint is not what was signed"
            if flaw is not None:
                return flaw
        for copy in self._copies.get(size, ()):
            flaw = self._judged(copy, size, root)
            if flaw is not None:
                return flaw
        return None

    def rows_beyond(
        self, rows: Iterable[SignedCheckpoint], size: int, position: int
    ) -> Finding | None:
        """Say that these rows were signed for more events than are left: from a position on."""
        return self._beyond([Copy(row.note, _DATABASE) for row in rows], size, position)

    def copies_beyond(self, size: int, position: int) -> Finding | None:
        """Say that copies were signed for more events than are left: from a position on."""
        sizes = sorted((one for one in self._copies if one > size), reverse=True)
        return self._beyond([copy for one in sizes for copy in self._copies[one]], size, position)

    def _judged(self, copy: Copy, size: int, root: bytes) -> Flaw | None:
        """Say what is wrong with a signed checkpoint, given the tree of its size."""
        what = f"the checkpoint for {size} events in {copy.place}"
        try:
            head = self._trust.head(copy.note)
        except NoteBroken as error:
            return Wrong.BAD_SIGNATURE, f"{what}: {error}"
        if head.tree_size != size:
            return Wrong.BAD_SIGNATURE, f"{what} was signed for {head.tree_size}"
        if head.root != root:
            return Wrong.REHASHED, f"the events are not those of {what}"
        self.held += 1
        return None

    def _beyond(self, beyond: Sequence[Copy], size: int, position: int) -> Finding | None:
        found = None
        for copy in beyond:
            try:
                head = self._trust.head(copy.note)
            except NoteBroken as error:
                detail = f"a checkpoint in {copy.place} for more events than are left: {error}"
                found = Finding(Wrong.BAD_SIGNATURE, position, detail)
                continue
            signed = f"a checkpoint in {copy.place} was signed for {head.tree_size} events"
            return Finding(Wrong.TAIL_CUT, position, f"{signed}, {size} are left")
        return found


def _by_size(copies: Iterable[Copy]) -> dict[int, list[Copy]]:
    """Return copies by the size that they say; what is no checkpoint is said to be of size 0."""
    found: dict[int, list[Copy]] = defaultdict(list)
    for copy in copies:
        try:
            size = TreeHead.parse(copy.note.rpartition("\n\n")[0] + "\n").tree_size
        except NoteBroken:
            size = 0
        if copy not in found[size]:
            found[size].append(copy)
    return dict(found)
