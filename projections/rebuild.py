"""Rebuild a projection's table from the log while everybody goes on reading and writing.

    1  one snapshot: fold all streams, COPY into a table beside; digest the live table
    2  catch up with what was appended meanwhile, round after round
    3  under a lock of milliseconds: catch up with the rest, put the new table in place

A rebuild that is killed leaves the live table as it was, and a table beside, which the next
one drops. Whoever reads in a snapshot older than the swap (REPEATABLE READ) sees an empty
table after it: https://www.postgresql.org/docs/current/mvcc-caveats.html.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.eventstore.horizon import safe_position
from reactorcide.projections import slices, table
from reactorcide.projections.projection import Projection
from reactorcide.projections.replay import (
    EVERYTHING,
    Progress,
    Slice,
    Tally,
    count,
    replay,
    replay_some,
    uncollected,
)
from reactorcide.projections.table import Digest

_EVENTS_EACH: Final = 100_000
_PROGRAMS: Final = 4
_PATIENCE_SECONDS: Final = 30.0
_ROUNDS: Final = 10
_FEW_STREAMS: Final = 200
_CLOSE_SECONDS: Final = 5.0
_SWAP_SECONDS: Final = 120.0
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '100ms'"
# Those that went on, and those of which an event was redacted.
_TOUCHED: Final = """
SELECT stream_id FROM events WHERE stream_type = $1 AND position > $2 AND position <= $3
UNION
SELECT told.stream_id FROM events AS redaction
JOIN events AS told ON told.position = (redaction.data ->> 'position')::bigint
WHERE redaction.stream_type = 'redaction' AND told.stream_type = $1
    AND redaction.position > $2 AND redaction.position <= $3
ORDER BY stream_id"""
_LAST: Final = 2**63 - 1
_ONLY_ONE: Final = "SELECT pg_try_advisory_lock(hashtext('rebuild ' || $1))"


class RebuildUnderWay(Exception):  # noqa: N818  named by what is so, like the rejections
    """Somebody else rebuilds this projection."""


class TableBusy(Exception):  # noqa: N818  as above
    """Long transactions never left the table alone for the moment that the swap needs."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    name: str
    rows: int
    """At `position`, as the digest."""
    events: int
    position: int
    """Of the last event in the snapshot."""
    digest: str
    differed: bool
    """Whether the live table was not what the log says; now it is."""
    seconds: float


async def rebuild(
    database: Database,
    projection: Projection,
    progress: Progress,
    events_each: int = _EVENTS_EACH,
) -> Rebuilt:
    """Rebuild one table; the login must own it.

    From twice `events_each` events on, several programs fold, one for each core at most.

    Raises RebuildUnderWay, TableBusy, CodecError, IllegalTransition and DatabaseError; the live
    table is then as it was.
    """
    start = time.monotonic()
    with database_errors():
        async with _connected(database) as reader, _connected(database) as writer:
            await hold(writer, projection.name)
            rebuild = _Rebuild(database, reader, writer, projection)
            await rebuild.prepare()
            settled = await safe_position(writer, 0, _PATIENCE_SECONDS)
            snapshot = await rebuild.fill(progress, events_each)
            await rebuild.swap(await rebuild.catch_up(settled))
    return Rebuilt(
        name=projection.name,
        rows=snapshot.new.rows,
        events=snapshot.events,
        position=snapshot.position,
        digest=snapshot.new.digest,
        differed=snapshot.live != snapshot.new,
        seconds=time.monotonic() - start,
    )


async def hold(connection: Connection, name: str) -> None:
    """Keep others from rebuilding a table while the session lasts. Raises RebuildUnderWay."""
    if not await connection.fetchval(_ONLY_ONE, name):
        raise RebuildUnderWay(name)


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection that acts as the login, which owns the tables."""
    connection = await database.connect(role=False, jit="off", timezone="UTC")
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (TimeoutError, asyncpg.InterfaceError):
            connection.terminate()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was seen at one moment of the log."""

    events: int
    position: int
    live: Digest
    new: Digest


class _Rebuild:
    """The steps of one rebuild; `settled` is always a position below which all is in the table."""

    def __init__(
        self, database: Database, reader: Connection, writer: Connection, projection: Projection
    ) -> None:
        self._database = database
        self._reader = reader
        self._writer = writer
        self._projection = projection
        self._beside = projection.name + "_rebuild"

    async def prepare(self) -> None:
        """Make the empty table beside; drop what an interrupted rebuild left."""
        await table.run(self._writer, "drop", self._projection, self._beside)
        await table.create(self._writer, self._projection, self._beside)

    async def fill(self, progress: Progress, events_each: int) -> _Snapshot:
        """Fold a snapshot of the log into the table beside; digest both as of that snapshot."""
        async with self._reader.transaction(isolation="repeatable_read", readonly=True):
            events, position = await count(self._reader, self._projection)
            parts = min(os.cpu_count() or 1, _PROGRAMS, events // max(events_each, 1))
            tally = Tally(events, progress)
            if parts > 1:
                await self._fold_in_parts(parts, events, tally)
            else:
                await self._fold(EVERYTHING, tally)
            live, _ = await asyncio.gather(  # two sessions, two cores
                table.digest(self._reader, self._projection, self._projection.name),
                table.index(self._writer, self._projection, self._beside),
            )
        new, _ = await asyncio.gather(
            table.digest(self._reader, self._projection, self._beside),
            table.run(self._writer, "analyze", self._projection, self._beside),
        )
        return _Snapshot(events, position, live, new)

    async def _fold(self, part: Slice, tally: Tally) -> None:
        """Fold a slice here."""
        rows = replay(self._reader, self._projection, part, tally)
        with uncollected():
            await table.copy(self._writer, self._projection, self._beside, rows)

    async def _fold_in_parts(self, parts: int, events: int, tally: Tally) -> None:
        """Fold the first slice here, the others in programs of their own."""
        order = {
            "projection": self._projection.name,
            "beside": self._beside,
            "snapshot": await self._reader.fetchval("SELECT pg_export_snapshot()"),
        }
        ours, *others = await slices.cut(self._reader, self._projection, parts, events)
        async with slices.folded_apart(self._database, order, others, tally) as apart:
            await self._fold(ours, tally)
            left = await apart
        for part in left:  # what failed there fails here too, and says what is the matter
            await self._fold(part, tally)

    async def catch_up(self, settled: int) -> int:
        """Fold again the streams that went on since, until few do; return what is settled now."""
        for _ in range(_ROUNDS):
            until = await safe_position(self._writer, settled, _PATIENCE_SECONDS)
            if await self._refold(settled, until) <= _FEW_STREAMS:
                return until
            settled = until
        return settled

    async def swap(self, settled: int) -> None:
        """Put the table in its place, as soon as nobody holds the live one for long."""
        deadline = time.monotonic() + _SWAP_SECONDS
        while True:
            try:
                async with self._writer.transaction():
                    await self._writer.execute(_LOCK_TIMEOUT)
                    await table.run(self._writer, "lock", self._projection, self._beside)
                    await self._refold(settled, _LAST)
                    await table.replace(self._writer, self._projection, self._beside)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                if time.monotonic() > deadline:
                    raise TableBusy(self._projection.name) from None
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311  jitter is no secret
            else:
                return

    async def _refold(self, after: int, until: int) -> int:
        """Fold again the streams with events in this stretch; return how many there are."""
        found = await self._writer.fetch(_TOUCHED, self._projection.stream_type, after, until)
        stream_ids = [row[0] for row in found]
        if stream_ids:
            rows = await replay_some(self._writer, self._projection, stream_ids)
            await table.forget(self._writer, self._projection, self._beside, stream_ids)
            await table.copy(self._writer, self._projection, self._beside, rows)
        return len(stream_ids)
