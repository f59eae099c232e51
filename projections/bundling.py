"""Writes bundles: events of the log with all that proves them; `proof.bundle` has the format.

In one snapshot, page after page, so that a log of any length takes the same memory. It copies
what is sealed and judges nothing: that is for whoever verifies the bundle.
"""

import gzip
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore import merkle
from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.eventstore.leaves import SALT_BYTES, RawEvent, Stretch, read_raw
from reactorcide.eventstore.merkle import HASH_BYTES, TILE_WIDTH, Range
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.proof.bundle import FORMAT, NAME, Holds
from reactorcide.eventstore.proof.redactions import NO_SALT, canonical_data
from reactorcide.eventstore.proof.rows import Page, SealedTile
from reactorcide.projections import archives, sealed_log
from reactorcide.projections.log_walk import Progress, pages

_COMPRESSION: Final = 3

_SIZE: Final = "SELECT tree_size, note FROM signed_checkpoints ORDER BY tree_size DESC LIMIT 1"
_OF_STREAM: Final = "SELECT position FROM events WHERE stream_id = $1 ORDER BY version"
_TELLING: Final = """
SELECT position FROM events WHERE stream_id = ANY ($1::text[]::uuid[]) AND stream_type = 'redaction'
ORDER BY position"""
_TILE_OF: Final = """
SELECT tile, first_position, last_position, width, positions, salts, payload_hashes, leaf_hashes
FROM sealed_tiles WHERE first_position <= $1 ORDER BY first_position DESC LIMIT 1"""


class NothingSealed(Exception):  # noqa: N818  named by what is so, like the rejections
    """None of what was asked for is sealed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What goes into a bundle: all, one stream, or the positions from one to another."""

    stream_id: UUID | None = None
    first: int | None = None
    last: int | None = None

    @property
    def holds(self) -> Holds:
        """The word for it."""
        if self.stream_id is not None:
            return "stream"
        return "log" if self.first is None and self.last is None else "range"


@dataclass(frozen=True, slots=True)
class Bundled:
    """What was written."""

    events: int
    tree_size: int
    """Of the signed checkpoint that all is proved by."""


class _Placed(NamedTuple):
    """An event in the tree."""

    leaf: int
    event: RawEvent
    salt: bytes
    payload_hash: bytes
    leaf_hash: bytes


async def write_bundle(
    database: Database,
    path: Path,
    selection: Selection,
    progress: Progress,
    objects: ObjectStore | None = None,
) -> Bundled:
    """Write a bundle; a file that is there is replaced when the new one is whole.

    `objects` has what was archived. Raises NothingSealed, DatabaseError, ObjectStoreError and
    OSError.
    """
    aside = path.with_name(f".{path.name}.part")
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            await archives.hold(connection)  # before the snapshot
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                with gzip.open(aside, "wb", compresslevel=_COMPRESSION) as file:
                    writing = await _begun(connection, file, selection, objects)
                    bundled = await writing.write(selection, progress)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
            await connection.close()
    return bundled


async def _begun(
    connection: Connection,
    file: gzip.GzipFile,
    selection: Selection,
    objects: ObjectStore | None,
) -> "_Writing":
    newest = await connection.fetchrow(_SIZE)
    if newest is None:
        raise NothingSealed("nothing of this log is sealed yet")
    log = await sealed_log.origin(connection)
    header = {"bundle": NAME, "format": FORMAT, "log": log, "holds": selection.holds}
    file.write(_line(header))
    return _Writing(connection, file, dict(newest), objects)


class _Writing:
    """A bundle under way: which leaves are told of already, how many events are in it."""

    def __init__(
        self,
        connection: Connection,
        file: gzip.GzipFile,
        newest: Mapping[str, Any],
        objects: ObjectStore | None,
    ) -> None:
        self._connection = connection
        self._file = file
        self._objects = objects
        self._tree_size: int = newest["tree_size"]
        self._note: str = newest["note"]
        self._leaf = 0
        self._events = 0

    async def write(self, selection: Selection, progress: Progress) -> Bundled:
        """Write all of it."""
        if selection.holds == "log":
            await self._log(progress)
        else:
            await self._some(selection, progress)
            await self._skip(self._tree_size)
            self._file.write(_line({"checkpoint": self._note}))
        self._file.write(_line({"end": self._events}))
        return Bundled(self._events, self._tree_size)

    async def _log(self, progress: Progress) -> None:
        async for page in pages(self._connection, objects=self._objects):
            signed = iter(page.checkpoints)
            checkpoint = next(signed, None)
            for placed in _placed(page, self._leaf):
                self._event(placed)
                if checkpoint is not None and checkpoint.tree_size == self._leaf:
                    self._file.write(_line({"checkpoint": checkpoint.note}))
                    checkpoint = next(signed, None)
            progress(self._leaf, self._tree_size)

    async def _some(self, selection: Selection, progress: Progress) -> None:
        redacted: list[str] = []
        async for placed in self._selected(selection):
            await self._skip(placed.leaf)
            self._event(placed)
            if placed.salt == NO_SALT:
                redacted.append(placed.event.event_id.decode())
            progress(placed.leaf, self._tree_size)
        if not self._events:
            raise NothingSealed("none of these events is sealed yet")
        telling = [row[0] for row in await self._connection.fetch(_TELLING, redacted)]
        async for placed in self._at(telling):
            if placed.leaf >= self._leaf:
                await self._skip(placed.leaf)
                self._event(placed)

    async def _selected(self, selection: Selection) -> AsyncIterator[_Placed]:
        if selection.stream_id is not None:
            found = await self._connection.fetch(_OF_STREAM, selection.stream_id)
            async for placed in self._at([row[0] for row in found]):
                yield placed
            return
        first = 0 if selection.first is None else selection.first
        last = 2**63 - 1 if selection.last is None else selection.last
        begin = await self._tile_of(first)
        leaf = 0 if begin is None else begin.tile * TILE_WIDTH
        after = -1 if begin is None else begin.tile - 1
        async for page in pages(self._connection, after, self._objects):
            for placed in _placed(page, leaf):
                if first <= int(placed.event.position) <= last:
                    yield placed
            leaf += sum(tile.width for tile in page.tiles)
            if page.tiles[-1].last_position >= last:
                return

    async def _at(self, positions: Sequence[int]) -> AsyncIterator[_Placed]:
        """Yield events by their positions; those that are not sealed are left out."""
        tile: SealedTile | None = None
        for position in positions:
            if tile is None or not tile.first_position <= position <= tile.last_position:
                tile = await self._tile_of(position)
            if tile is None or position not in tile.positions:
                continue
            events: list[RawEvent] = []
            stretch = Stretch(position - 1, position, 1)
            await read_raw(self._connection, stretch, events.extend)
            nth = tile.positions.index(position)
            for event in events:
                yield _in_tile(tile, nth, event)

    async def _tile_of(self, position: int) -> SealedTile | None:
        row = await self._connection.fetchrow(_TILE_OF, position)
        return None if row is None else SealedTile(*row)

    async def _skip(self, leaf: int) -> None:
        """Tell of the leaves before this one by the roots of whole subtrees."""
        if leaf == self._leaf:
            return
        ranges = list(_subtrees(self._leaf, leaf))
        tiles = await sealed_log.tiles(self._connection, merkle.tiles_of(ranges))
        nodes = [
            [(end - begin).bit_length() - 1, merkle.hash_of((begin, end), tiles).hex()]
            for begin, end in ranges
        ]
        self._file.write(_line({"skipped": nodes}))
        self._leaf = leaf

    def _event(self, placed: _Placed) -> None:
        self._file.write(
            b'{"leaf":%d,"salt":"%b","hash":"%b","event":%b,"data":%b}\n'
            % (
                placed.leaf,
                placed.salt.hex().encode(),
                placed.leaf_hash.hex().encode(),
                placed.event.entry(placed.payload_hash),
                canonical_data(placed.event),
            )
        )
        self._leaf = placed.leaf + 1
        self._events += 1


def _subtrees(begin: int, end: int) -> Iterator[Range]:
    """Yield the whole subtrees that leaves from one (included) to another are made of."""
    while begin < end:
        height = (end - begin).bit_length() - 1
        if begin:
            height = min(height, (begin & -begin).bit_length() - 1)
        yield begin, begin + (1 << height)
        begin += 1 << height


def _placed(page: Page, leaf: int) -> Iterable[_Placed]:
    """Yield the events of a page with their leaves, where there is an event."""
    events = {int(event.position): event for event in page.events}
    for tile in page.tiles:
        for nth, position in enumerate(tile.positions):
            event = events.get(position)
            if event is not None:
                yield _in_tile(tile, nth, event)._replace(leaf=leaf + nth)
        leaf += tile.width


def _in_tile(tile: SealedTile, nth: int, event: RawEvent) -> _Placed:
    return _Placed(
        tile.tile * TILE_WIDTH + nth,
        event,
        tile.salts[SALT_BYTES * nth : SALT_BYTES * (nth + 1)],
        tile.payload_hashes[HASH_BYTES * nth : HASH_BYTES * (nth + 1)],
        tile.leaf_hashes[HASH_BYTES * nth : HASH_BYTES * (nth + 1)],
    )


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
