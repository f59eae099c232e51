"""Rebuild a projection's table from the log while everybody goes on reading and writing.

    1  fill     fold slice after slice of the log, COPY each into a table beside; then its indexes
    2  catch up with what was appended meanwhile, round after round
    3  compare  the live table and the new one, by their digests at one position
    4  swap     under a lock of milliseconds: catch up with the rest, put the new table in place,
                record `projection.rebuilt`; all of it or nothing

What is folded is noted with its rows, so a rebuild that was killed anywhere is gone on with by
the next one; the live table is as it was until the swap. Whoever reads in a snapshot older than
the swap (REPEATABLE READ) sees an empty table after it:
https://www.postgresql.org/docs/current/mvcc-caveats.html.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from reactorcide.eventstore.database import (
    Connection,
    Database,
    StatementRefused,
    database_errors,
)
from reactorcide.eventstore.domain.events import ProjectionRebuilt
from reactorcide.eventstore.domain.projection import (
    PROJECTION,
    ProjectionState,
    RecordRebuild,
    stream_id_of,
)
from reactorcide.eventstore.handle import TransactionDoor, handle
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import rebuilds, table
from reactorcide.projections.code_version import code_version
from reactorcide.projections.making import Compared, Filling, Making
from reactorcide.projections.projection import Projection
from reactorcide.projections.refilling import Following
from reactorcide.projections.refolding import Inline
from reactorcide.projections.replay import Progress
from reactorcide.projections.subscription import Subscription
from reactorcide.projections.throttle import UNTHROTTLED, Throttle

_EVENTS_EACH: Final = 100_000
_CLOSE_SECONDS: Final = 5.0
_SWAP_SECONDS: Final = 120.0
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '100ms'"
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
    """Of the last event that the two tables were compared at."""
    digest: str
    differed: bool
    """Whether the live table was not what the log says; now it is."""
    was_under_way: bool
    """Whether it went on with what a killed one had begun."""
    code_version: str
    seconds: float


async def rebuild(
    database: Database,
    projection: Projection | Subscription,
    progress: Progress,
    events_each: int = _EVENTS_EACH,
    throttle: Throttle = UNTHROTTLED,
) -> Rebuilt:
    """Rebuild one table; the login must own it.

    From twice `events_each` events on, several programs fold, one for each core at most.

    Raises RebuildUnderWay, TableBusy, CodecError, IllegalTransition and DatabaseError; the live
    table is then as it was. What this version can't read leaves nothing behind; whatever else
    ends it leaves what the next one goes on with.
    """
    start = time.monotonic()
    making = Following(projection) if isinstance(projection, Subscription) else Inline(projection)
    filling = Filling(database, progress, throttle, events_each)
    with database_errors():
        async with _connected(database) as reader, _connected(database) as writer:
            await hold(writer, projection.name)
            was_under_way, compared = await _made(reader, writer, making, filling)
            await _swap(writer, making, compared)
    return Rebuilt(
        name=projection.name,
        rows=compared.new.rows,
        events=compared.events,
        position=compared.position,
        digest=compared.new.digest,
        differed=compared.live != compared.new,
        was_under_way=was_under_way,
        code_version=code_version(),
        seconds=time.monotonic() - start,
    )


async def hold(connection: Connection, name: str) -> None:
    """Keep others from rebuilding a table while the session lasts. Raises RebuildUnderWay."""
    if not await connection.fetchval(_ONLY_ONE, name):
        raise RebuildUnderWay(name)


async def abandon(connection: Connection, tabled: table.Tabled) -> None:
    """Leave nothing of a rebuild that was killed; by whoever holds the table (`hold`)."""
    await _drop(connection, tabled)


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection that acts as the login, which owns the tables."""
    connection = await database.connect(
        role=False, jit="off", timezone="UTC", max_parallel_maintenance_workers="0"
    )
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (TimeoutError, asyncpg.InterfaceError):
            connection.terminate()


async def _made(
    reader: Connection, writer: Connection, making: Making, filling: Filling
) -> tuple[bool, Compared]:
    """Fill the table beside and compare; say whether somebody had begun with it."""
    tabled = making.tabled
    was_under_way = await _begun(writer, making, filling)
    try:
        await making.fill(writer, filling)
        await _index(writer, reader, tabled)
        async with _analyzed(filling.database, tabled):
            await making.catch_up(writer)
            return was_under_way, await making.compare(reader, writer)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        raise  # the next one goes on
    except Exception:  # what can't be folded: all of it would be folded in vain again
        await _drop(writer, tabled)
        raise


async def _begun(writer: Connection, making: Making, filling: Filling) -> bool:
    """Make the table beside, unless one is there to go on with; then return True."""
    tabled = making.tabled
    beside = table.beside(tabled)
    made_by = f"{code_version()} {await rebuilds.shape(writer, tabled.name)}"
    found = await rebuilds.find(writer, tabled.name, beside)
    if found is not None and found.has_table and found.made_by == made_by:
        return True
    slices = await making.cut(writer, filling.events_each)
    async with writer.transaction():
        await _drop(writer, tabled)
        await table.create(writer, tabled, beside)
        await rebuilds.begin(writer, tabled.name, made_by, slices)
    return False


async def _drop(writer: Connection, tabled: table.Tabled) -> None:
    """Leave nothing of a rebuild."""
    async with writer.transaction():
        await rebuilds.end(writer, tabled.name)
        await table.run(writer, "drop", tabled, table.beside(tabled))


async def _index(writer: Connection, reader: Connection, tabled: table.Tabled) -> None:
    """Give the table beside the indexes that it has not yet, by two sessions."""
    beside = table.beside(tabled)
    found = await rebuilds.find(writer, tabled.name, beside)
    if found is None or found.has_indexes:
        return
    await table.index((writer, reader), tabled, beside)
    await rebuilds.indexed(writer, tabled.name)


@asynccontextmanager
async def _analyzed(database: Database, tabled: table.Tabled) -> AsyncIterator[None]:
    """Tell the planner of the table beside, while the block runs on other sessions."""
    async with _connected(database) as connection:
        run = table.run(connection, "analyze", tabled, table.beside(tabled))
        analyzing = asyncio.create_task(run)
        try:
            yield
            await analyzing
        finally:
            analyzing.cancel()
            await asyncio.wait([analyzing])


async def _swap(writer: Connection, making: Making, compared: Compared) -> None:
    """Put the table in its place, as soon as nobody holds the live one for long."""
    tabled = making.tabled
    beside = table.beside(tabled)
    deadline = time.monotonic() + _SWAP_SECONDS
    while True:
        try:
            async with writer.transaction():
                await writer.execute(_LOCK_TIMEOUT)
                await table.run(writer, "lock", tabled, beside)
                await making.finish(writer)
                await table.replace(writer, tabled, beside)
                await rebuilds.end(writer, tabled.name)
                await _record(writer, tabled.name, compared)
        except (
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
            StatementRefused,
        ) as e:
            if isinstance(e, StatementRefused) and not e.is_transient:
                raise
            if time.monotonic() > deadline:
                raise TableBusy(tabled.name) from None
            await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311  jitter is no secret
        else:
            return


async def _record(writer: Connection, name: str, compared: Compared) -> None:
    """Append the fact, in the transaction of the swap."""
    rebuilt = ProjectionRebuilt(
        name=name,
        position=compared.position,
        rows=compared.new.rows,
        digest=compared.new.digest,
        events=compared.events,
        differed=compared.live != compared.new,
        code_version=code_version(),
    )
    await handle(
        writer,
        TransactionDoor[ProjectionState](writer, lambda _changes: InlineRows("", ())),
        PROJECTION,
        stream_id_of(name),
        RecordRebuild(rebuilt),
        SYSTEM,
    )
