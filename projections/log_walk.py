"""Verifies the log of a database: one snapshot, one walk, in pages; nobody waits for it.

Reads only. What it compares the log with is handed in.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.eventstore.leaves import RawEvent, Stretch, read_raw
from reactorcide.eventstore.merkle import TILE_WIDTH, TileId
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.proof import tiles
from reactorcide.eventstore.proof.findings import Finding, Wrong, first
from reactorcide.eventstore.proof.rows import Page, SealedTile, SignedCheckpoint
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.proof.verification import Expected, Verification, moved
from reactorcide.projections import archives
from reactorcide.projections.archived_events import ArchivedEvents
from reactorcide.projections.replay import uncollected

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many events are verified, and how many there are about."""

_TILES_EACH: Final = 32
_EVENTS_EACH: Final = 8192
_LAST: Final = 2**63 - 1

_END: Final = "SELECT coalesce(max(position), 0) FROM events"
_TILES: Final = """
SELECT tile, first_position, last_position, width, positions, salts, payload_hashes, leaf_hashes
FROM sealed_tiles WHERE tile > $1 ORDER BY tile LIMIT $2"""
_TREE_TILES: Final = "SELECT level, tile, hashes FROM tree_tiles ORDER BY level, tile"
_SIGNED: Final = """
SELECT tree_size, root, last_position, note FROM signed_checkpoints
WHERE tree_size > $1 AND tree_size <= $2 ORDER BY tree_size LIMIT $3"""
# The leaf has nothing of these columns: they say nothing of their own.
_BESIDE: Final = """
SELECT position, stream_type, stream_id::text FROM events
WHERE payload_hash IS NOT NULL OR ip IS DISTINCT FROM host(ip)::inet ORDER BY position LIMIT 1"""
# The audit trail still knows what was deleted, unless that was changed too.
_TRAIL: Final = "SELECT stream_type, stream_id::text, type FROM audit_events WHERE position = $1"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of a log that was verified."""

    events: int
    """That are sealed and were found right."""
    position: int
    """Of the last of them."""
    not_sealed: int
    """Events behind the last sealed one."""
    checkpoints: int
    """Signatures that hold."""
    finding: Finding | None
    seconds: float


async def verify_log(
    database: Database, trust: Trust, progress: Progress, objects: ObjectStore | None = None
) -> Verified:
    """Verify all that is sealed, and that streams go on lawfully behind it.

    It stops at the first position that is wrong. Copies in `trust` must have been fetched before:
    what was signed afterwards is not in this snapshot. `objects` has what was archived. Raises
    DatabaseError and ObjectStoreError.
    """
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            await archives.hold(connection)  # before the snapshot
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await verify_in(connection, trust, progress, objects)
        finally:
            await connection.close()


async def verify_in(
    connection: Connection, trust: Trust, progress: Progress, objects: ObjectStore | None = None
) -> Verified:
    """Verify what a REPEATABLE READ transaction sees; its session's time zone must be UTC."""
    start = time.monotonic()
    expected = await _expected(connection)
    with Verification(trust, expected) as walk, uncollected():
        sealed = pages(connection, objects=objects)
        not_sealed = await _walk(connection, walk, sealed, progress)
        finding = first(walk.end(), await _beside(connection))
        if finding is not None:
            finding = await _explained(connection, walk.suspect, finding)
    seconds = time.monotonic() - start
    position, checkpoints = walk.last_position, walk.checkpoints
    return Verified(walk.size, position, not_sealed, checkpoints, finding, seconds)


async def _expected(connection: Connection) -> Expected:
    stored = await connection.fetch(_TREE_TILES)
    above = {TileId(row[0], row[1]): row[2] for row in stored}
    return Expected(await connection.fetchval(_END), above)


async def _walk(
    connection: Connection, walk: Verification, sealed: AsyncIterator[Page], progress: Progress
) -> int:
    """Take page after page, then the rest; return how many events are not sealed."""
    total = await connection.fetchval(_END)
    async for page in sealed:
        if walk.page(page) is not None:
            return 0
        progress(walk.size, max(total, walk.size))
    after, count = walk.last_position, 0
    while events := await _events(connection, Stretch(after, _LAST, _EVENTS_EACH)):
        walk.rest(events)
        after, count = int(events[-1].position), count + len(events)
        progress(walk.size + count, max(total, walk.size + count))
    return count


async def pages(
    connection: Connection, after_tile: int = -1, objects: ObjectStore | None = None
) -> AsyncIterator[Page]:
    """Yield what is sealed, in order; the last page has all checkpoints that are left.

    The connection must be in a REPEATABLE READ transaction.
    """
    archived = None if objects is None else ArchivedEvents(connection, objects)
    found = await _tiles(connection, after_tile)
    size = (after_tile + 1) * TILE_WIDTH
    position = found[0].first_position - 1 if found and size else 0
    while found:
        last_tile, until = found[-1].tile, found[-1].last_position
        following = await _tiles(connection, last_tile)
        end = size + sum(tile.width for tile in found)
        signed = await connection.fetch(_SIGNED, size, end if following else _LAST, end - size + 1)
        # One more than there may be: if there are more, the first that is too much is among them.
        events = await _events(connection, Stretch(position, until, end - size + 1))
        if archived is not None:
            events = await archived.merged(events, position, until)
        yield Page(found, events, [SignedCheckpoint(*row) for row in signed])
        size, position, found = end, until, following


async def _tiles(connection: Connection, after: int) -> list[SealedTile]:
    return [SealedTile(*row) for row in await connection.fetch(_TILES, after, _TILES_EACH)]


async def _events(connection: Connection, stretch: Stretch) -> list[RawEvent]:
    events: list[RawEvent] = []
    await read_raw(connection, stretch, events.extend)
    return events


async def _beside(connection: Connection) -> Finding | None:
    row = await connection.fetchrow(_BESIDE)
    if row is None:
        return None
    detail = "its payload_hash is not empty, or its ip has a netmask: nobody writes that"
    return Finding(Wrong.EDITED, row[0], detail, row[1], row[2])


async def _explained(connection: Connection, suspect: RawEvent | None, finding: Finding) -> Finding:
    """Return the finding with what else can be known of it, from a look at the whole log."""
    if finding.kind in {Wrong.DELETED, Wrong.TAIL_CUT}:
        trail = await connection.fetchrow(_TRAIL, finding.position)
        if trail is not None:
            detail = f"{finding.detail}; the audit trail has a {trail[2]} here"
            return replace(finding, detail=detail, stream_type=trail[0], stream_id=trail[1])
    if suspect is not None and int(suspect.position) == finding.position:
        last = -1
        while found := await _tiles(connection, last):
            for tile in found:
                place = tiles.sealed_at(suspect, tile)
                if place is not None:
                    return moved(finding, place)
            last = found[-1].tile
    return finding
