"""Goes through a log in the order of its positions, and finds the first thing that is wrong.

Pure: it is handed pages, wherever they come from, and keeps no event. What it holds against the
events, in this order of trust: what the key signed, copies of that kept elsewhere, and the hashes
that the database keeps, which anybody who can write there can make fit.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import TracebackType
from typing import Final, NamedTuple, Self

from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import (
    HASH_BYTES,
    TILE_WIDTH,
    TileId,
    Tree,
    edges_of,
    root_of,
    width_of,
)
from reactorcide.eventstore.proof import tiles
from reactorcide.eventstore.proof.findings import Finding, Wrong, first
from reactorcide.eventstore.proof.redactions import Redactions
from reactorcide.eventstore.proof.rows import Copy, Page, SealedTile, SignedCheckpoint
from reactorcide.eventstore.proof.streams import Streams
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import NoteBroken, TreeHead

_NOTHING: Final[Sequence[Copy]] = ()
_TILE_CHANGED: Final = "its sealed hashes were changed, the event was not"
_DATABASE: Final = "the database"


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
        self._trust = trust
        self._expected = expected
        self._copies = _by_size(trust.copies)
        self._tree = Tree()
        self._edges: dict[TileId, bytes] = {}
        self._begins = array("q")
        self._last_position = 0
        self._signed_size = 0
        self._unsigned_from: int | None = None
        self._redactions = Redactions()
        self._streams = Streams()
        self._found: Finding | None = None
        self.suspect: RawEvent | None = None
        """The event that was found wrong: it may be the one that was sealed elsewhere."""
        self.checkpoints = 0
        """So many signatures hold."""

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
        beyond = [Copy(one.note, _DATABASE) for one in ([waiting] if waiting else [])]
        beyond += [Copy(one.note, _DATABASE) for one in checkpoints]
        finding = self._cut(beyond)
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
        return first(found, self._edge_tiles(), self._redactions.settle(), self._streams.settle())

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
        made = tiles.hashed(tile, events, self._redactions, self._expected.last_position)
        self._note(events[: made.sound])
        self._begins.append(tile.first_position)
        if self._unsigned_from is None:
            self._unsigned_from = tile.first_position
        finding = made.finding
        if finding is not None and made.suspect is not None:
            self.suspect = made.suspect
            if made.is_leaf and self._is_above(tile, made.leaves, checkpoints):
                self.suspect = None
                finding = replace(finding, kind=Wrong.BAD_TILE, detail=_TILE_CHANGED)
        finding = first(finding, self._against_copies(tile, made.leaves))
        sound = made.sound
        if finding is not None:
            sound = min(sound, bisect_left(tile.positions, finding.position))
        return self._grow(tile, made.leaves[: sound * HASH_BYTES], checkpoints) or finding

    def _is_above(
        self, tile: SealedTile, leaves: bytes, checkpoints: Sequence[SignedCheckpoint]
    ) -> bool:
        """Say whether a tile's leaves, as its events make them, fit what is kept above it."""
        if len(leaves) != tile.width * HASH_BYTES:
            return False
        if tile.width == TILE_WIDTH:
            above = self._expected.tree_tiles.get(TileId(1, tile.tile // TILE_WIDTH), b"")
            at = tile.tile % TILE_WIDTH * HASH_BYTES
            if root_of(leaves) == above[at : at + HASH_BYTES]:
                return True
        size = self._tree.size + tile.width
        grown = Tree(self._tree.size, [self._edges.get(one, b"") for one in edges_of(self.size)])
        grown.append(leaves)
        root = grown.root()
        return any(one.tree_size == size and one.root == root for one in checkpoints)

    def _against_copies(self, tile: SealedTile, leaves: bytes) -> Finding | None:
        """Compare leaves with those that were handed out."""
        for copies in self._trust.tiles:
            copy = copies.tile(TileId(0, tile.tile))
            if copy is None or leaves.startswith(copy) or copy.startswith(leaves):
                continue
            both = zip(tile.positions, _hashes(leaves), _hashes(copy), strict=False)
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
        ends |= {size for size in self._copies if begin < size <= begin + width}
        by_size = {size: list(some) for size, some in groupby(checkpoints, lambda one: one[0])}
        done = 0
        for size in sorted(end for end in ends if end <= begin + width):
            upto = size - begin
            self._append(leaves[done * HASH_BYTES : upto * HASH_BYTES])
            self._last_position = tile.positions[upto - 1]
            done = upto
            finding = self._signed(size, by_size.get(size, ()))
            if finding is not None:
                return finding
            self._unsigned_from = tile.positions[upto] if upto < tile.width else None
        self._append(leaves[done * HASH_BYTES :])
        if width:
            self._last_position = tile.positions[width - 1]
        return self._full_tiles()

    def _append(self, leaves: bytes) -> None:
        if leaves:
            self._edges |= self._tree.append(leaves)

    def _signed(self, size: int, rows: Iterable[SignedCheckpoint]) -> Finding | None:
        """Compare the tree with what was signed at this size, and with the copies of that."""
        root = self._tree.root()
        for row in rows:
            says = self._judged(row.note, size, root, _DATABASE)
            if says is None and (row.root, row.last_position) != (root, self._last_position):
                says = Wrong.BAD_SIGNATURE, "the row of a checkpoint is not what was signed"
            if says is not None:
                return self._narrowed(*says)
        for copy in self._copies.get(size, _NOTHING):
            says = self._judged(copy.note, size, root, copy.place)
            if says is not None:
                return self._narrowed(*says)
        self._signed_size = size
        return None

    def _judged(self, note: str, size: int, root: bytes, place: str) -> tuple[Wrong, str] | None:
        """Say what is wrong with a signed checkpoint, given the tree of its size."""
        try:
            head = self._trust.head(note)
        except NoteBroken as error:
            return Wrong.BAD_SIGNATURE, f"the checkpoint for {size} events in {place}: {error}"
        if head.tree_size != size:
            detail = f"the checkpoint for {size} events in {place} was signed for {head.tree_size}"
            return Wrong.BAD_SIGNATURE, detail
        if head.root != root:
            detail = f"the events are not those of the checkpoint for {size} events in {place}"
            return Wrong.REHASHED, detail
        self.checkpoints += 1
        return None

    def _narrowed(self, kind: Wrong, detail: str) -> Finding:
        """Say that something is wrong since the last checkpoint that held."""
        begin = self._unsigned_from or self._last_position
        return Finding(kind, begin, detail, until=self._last_position)

    def _full_tiles(self) -> Finding | None:
        """Compare stored tiles above the leaves with what the events make, once they are full."""
        found = None
        for tile, hashes in list(self._edges.items()):
            if tile.level == 0 or len(hashes) == TILE_WIDTH * HASH_BYTES:
                del self._edges[tile]
            if tile.level and len(hashes) == TILE_WIDTH * HASH_BYTES:
                found = first(found, self._tile_finding(tile, hashes))
        return found

    def _edge_tiles(self) -> Finding | None:
        """Compare the stored tiles that are not full yet, as far as the walk came."""
        made = self._edges.items()
        return first(*(self._tile_finding(tile, hashes) for tile, hashes in made if tile.level))

    def _tile_finding(self, tile: TileId, made: bytes) -> Finding | None:
        stored = self._expected.tree_tiles.get(tile, b"")
        is_over = self._found is not None
        if stored == made or (is_over and stored.startswith(made)):
            return None
        both = enumerate(zip(_hashes(made), _hashes(stored), strict=False))
        nth = next((nth for nth, (one, other) in both if one != other), None)
        if nth is None:
            nth = min(len(made), len(stored)) // HASH_BYTES
        detail = f"hash {nth} of tile {tile.tile} of level {tile.level} is not what the events make"
        tiles_each = TILE_WIDTH ** (tile.level - 1)
        begin = (tile.tile * TILE_WIDTH + nth) * tiles_each
        position = self._begins[min(begin, len(self._begins) - 1)]
        if (begin + tiles_each) * TILE_WIDTH > self._signed_size and self._unsigned_from:
            return Finding(
                Wrong.BAD_TILE,
                max(position, self._unsigned_from),
                detail,
                until=self._last_position,
            )
        return Finding(Wrong.BAD_TILE, position, detail)

    def _unsigned(self) -> Finding | None:
        """Say that more was signed than there is, or more sealed than was signed."""
        sizes = sorted((size for size in self._copies if size > self._tree.size), reverse=True)
        found = self._cut([copy for size in sizes for copy in self._copies[size]])
        if found is None and self._tree.size > self._signed_size:
            detail = f"{self._tree.size - self._signed_size} events were sealed and never signed"
            found = self._narrowed(Wrong.BAD_SIGNATURE, detail)
        stored = self._expected.tree_tiles
        surplus = [tile for tile in stored if not width_of(tile, self._tree.size)]
        if found is None and surplus:
            detail = f"tile {surplus[0].tile} of level {surplus[0].level} is about no event"
            found = Finding(Wrong.BAD_TILE, self._last_position + 1, detail)
        return found

    def _cut(self, beyond: Sequence[Copy]) -> Finding | None:
        """Say that these were signed for more events than are left."""
        found = None
        for copy in beyond:
            try:
                head = self._trust.head(copy.note)
            except NoteBroken as error:
                detail = f"a checkpoint in {copy.place} for more events than are left: {error}"
                found = Finding(Wrong.BAD_SIGNATURE, self._last_position + 1, detail)
                continue
            left = f"{self._tree.size} are left"
            detail = f"a checkpoint in {copy.place} was signed for {head.tree_size} events, {left}"
            return Finding(Wrong.TAIL_CUT, self._last_position + 1, detail)
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


def _hashes(row: bytes) -> Iterator[bytes]:
    return (row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES))


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
