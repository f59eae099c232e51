"""Goes through a log in the order of its positions, and finds the first thing that is wrong.

Pure: it is handed pages, wherever they come from, and keeps no event. What it holds against the
events, in this order of trust: what the key signed, copies of that kept elsewhere, and the hashes
that the database keeps, which anybody who can write there can make fit.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import TracebackType
from typing import Final, NamedTuple, Self

from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import HASH_BYTES, TILE_WIDTH, TileId
from reactorcide.eventstore.proof import tiles
from reactorcide.eventstore.proof.findings import Finding, Wrong, first
from reactorcide.eventstore.proof.grown_tree import GrownTree, Misfit, hashes_in
from reactorcide.eventstore.proof.redactions import Redactions
from reactorcide.eventstore.proof.rows import Page, SealedTile, SignedCheckpoint
from reactorcide.eventstore.proof.signatures import Signatures
from reactorcide.eventstore.proof.streams import Streams
from reactorcide.eventstore.proof.trust import Trust

_TILE_CHANGED: Final = "its sealed hashes were changed, the event was not"


class Expected(NamedTuple):
    """What is known of a log before its first page."""

    last_position: int
    """Of all events that there are; 0 without any."""
    tree_tiles: Mapping[TileId, bytes]
    """The stored tiles above the leaves."""


class Verification:
    """One walk through a log: `page` after page, then `rest`, then `end`.

    Each returns what is wrong, and then the walk is over: `end` is called all the same, since what
    is wrong before may be seen only there. Use it as a context manager.
    """

    def __init__(self, trust: Trust, expected: Expected) -> None:
        self._tile_copies = trust.tiles
        self._signatures = Signatures(trust)
        self._tree = GrownTree(expected.tree_tiles)
        self._final_position = expected.last_position
        self._last_position = 0
        self._signed_size = 0
        self._unsigned_from: int | None = None
        self._redactions = Redactions()
        self._streams = Streams()
        self._found: Finding | None = None
        self.suspect: RawEvent | None = None
        """The event that was found wrong: it may be the one that was sealed elsewhere."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what was noted."""
        self._streams.__exit__(kind, error, trace)

    @property
    def size(self) -> int:
        """How many leaves were found right."""
        return self._tree.size

    @property
    def last_position(self) -> int:
        """The position of the last of them."""
        return self._last_position

    @property
    def checkpoints(self) -> int:
        """How many signatures hold."""
        return self._signatures.held

    def page(self, page: Page) -> Finding | None:
        """Take the next tiles, all events up to the last of them, and what was signed there."""
        at = 0
        checkpoints = iter(page.checkpoints)
        waiting = next(checkpoints, None)
        for tile in page.tiles:
            to = _end(page.events, at, tile)
            some: list[SignedCheckpoint] = []
            while waiting is not None and waiting.tree_size <= self._tree.size + tile.width:
                some.append(waiting)
                waiting = next(checkpoints, None)
            finding = self._tile(tile, page.events[at:to], some)
            if finding is not None:
                return self._keep(finding)
            at = to
        beyond = [*([waiting] if waiting else []), *checkpoints]
        finding = self._signatures.rows_beyond(beyond, self.size, self._last_position + 1)
        return self._keep(finding) if finding else None

    def rest(self, events: Sequence[RawEvent]) -> Finding | None:
        """Take events behind the last that was sealed: their streams must go on lawfully."""
        self._note(events)
        return None

    def end(self) -> Finding | None:
        """Return the first thing that is wrong with all that was taken."""
        found = self._found
        if found is None:
            found = self._unsigned()
        misfits = self._tree.edge_misfits(is_cut_short=self._found is not None)
        edges = first(*map(self._bad_tile, misfits))
        return first(found, edges, self._redactions.settle(), self._streams.settle())

    def _keep(self, finding: Finding) -> Finding:
        self._found = first(self._found, finding)
        return finding

    def _note(self, events: Sequence[RawEvent]) -> None:
        self._streams.note(events)
        for event in events:
            if event[11] == b"redaction":
                self._redactions.note(event)

    def _tile(
        self, tile: SealedTile, events: Sequence[RawEvent], checkpoints: Sequence[SignedCheckpoint]
    ) -> Finding | None:
        number, partial = divmod(self._tree.size, TILE_WIDTH)
        malformed = tiles.shape(tile, number, self._last_position)
        if malformed or partial:
            detail = malformed or f"tile {number - 1} is not full, and another follows"
            return Finding(Wrong.BAD_TILE, self._last_position + 1, detail)
        made = tiles.hashed(tile, events, self._redactions, self._final_position)
        self._note(events[: made.sound])
        self._tree.begin_tile(tile.first_position)
        if self._unsigned_from is None:
            self._unsigned_from = tile.first_position
        finding = made.finding
        if finding is not None and made.suspect is not None:
            self.suspect = made.suspect
            if made.is_leaf and self._tree.is_above(tile, made.leaves, checkpoints):
                self.suspect = None
                finding = replace(finding, kind=Wrong.BAD_TILE, detail=_TILE_CHANGED)
        finding = first(finding, self._against_copies(tile, made.leaves))
        sound = made.sound
        if finding is not None:
            sound = min(sound, bisect_left(tile.positions, finding.position))
        return self._grow(tile, made.leaves[: sound * HASH_BYTES], checkpoints) or finding

    def _against_copies(self, tile: SealedTile, leaves: bytes) -> Finding | None:
        """Compare leaves with those that were handed out."""
        for copies in self._tile_copies:
            copy = copies.tile(TileId(0, tile.tile))
            if copy is None or leaves.startswith(copy) or copy.startswith(leaves):
                continue
            both = zip(tile.positions, hashes_in(leaves), hashes_in(copy), strict=False)
            position = next(position for position, one, other in both if one != other)
            detail = f"its leaf is not the one in {copies.place}"
            return Finding(Wrong.REHASHED, position, detail)
        return None

    def _grow(
        self, tile: SealedTile, leaves: bytes, checkpoints: Sequence[SignedCheckpoint]
    ) -> Finding | None:
        """Append a tile's leaves, and stop at each size that was signed."""
        begin, width = self._tree.size, len(leaves) // HASH_BYTES
        ends = {one.tree_size for one in checkpoints}
        ends |= self._signatures.sizes(begin, begin + width)
        by_size = {size: list(some) for size, some in groupby(checkpoints, lambda one: one[0])}
        done = 0
        for size in sorted(end for end in ends if end <= begin + width):
            upto = size - begin
            self._tree.append(leaves[done * HASH_BYTES : upto * HASH_BYTES])
            self._last_position = tile.positions[upto - 1]
            done = upto
            finding = self._signed(size, by_size.get(size, ()))
            if finding is not None:
                return finding
            self._unsigned_from = tile.positions[upto] if upto < tile.width else None
        self._tree.append(leaves[done * HASH_BYTES :])
        if width:
            self._last_position = tile.positions[width - 1]
        return first(*map(self._bad_tile, self._tree.full_misfits()))

    def _signed(self, size: int, rows: Iterable[SignedCheckpoint]) -> Finding | None:
        """Compare the tree with what was signed at this size, and with the copies of that."""
        flaw = self._signatures.flaw(size, self._tree.root(), self._last_position, rows)
        if flaw is not None:
            return self._narrowed(*flaw)
        self._signed_size = size
        return None

    def _narrowed(self, kind: Wrong, detail: str) -> Finding:
        """Say that something is wrong since the last checkpoint that held."""
        begin = self._unsigned_from or self._last_position
        return Finding(kind, begin, detail, until=self._last_position)

    def _bad_tile(self, misfit: Misfit) -> Finding:
        """Say that a stored hash is wrong, or what was never signed below it."""
        position, end, detail = misfit
        if end > self._signed_size and self._unsigned_from:
            begin = max(position, self._unsigned_from)
            return Finding(Wrong.BAD_TILE, begin, detail, until=self._last_position)
        return Finding(Wrong.BAD_TILE, position, detail)

    def _unsigned(self) -> Finding | None:
        """Say that more was signed than there is, or more sealed than was signed."""
        found = self._signatures.copies_beyond(self.size, self._last_position + 1)
        if found is None and self.size > self._signed_size:
            detail = f"{self.size - self._signed_size} events were sealed and never signed"
            found = self._narrowed(Wrong.BAD_SIGNATURE, detail)
        surplus = self._tree.surplus()
        if found is None and surplus:
            detail = f"tile {surplus.tile} of level {surplus.level} is about no event"
            found = Finding(Wrong.BAD_TILE, self._last_position + 1, detail)
        return found


def moved(finding: Finding, position: int) -> Finding:
    """Return a finding about an event that was sealed elsewhere (`tiles.sealed_at`)."""
    detail = f"the event here is the one that was sealed at position {position}"
    return replace(finding, kind=Wrong.SWAPPED, detail=detail)


def _end(events: Sequence[RawEvent], at: int, tile: SealedTile) -> int:
    """Return where the events of a tile end: behind its last position."""
    expected = at + tile.width
    last = tile.last_position
    if len(events) >= expected and int(events[expected - 1].position) == last:
        following = events[expected : expected + 1]
        if not following or int(following[0].position) > last:
            return expected
    to = at
    while to < len(events) and int(events[to].position) <= last:
        to += 1
    return to
