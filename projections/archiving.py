"""Moves streams that ended long ago from the log and its tables into the object store.

    1  read their streams, hold each event against its seal, write an object, read it back
    2  in one transaction: say where they are, record `streams.archived`, delete the events, the
       rows of the audit trail and of the other tables

Whatever kills it, a stream is in the log, or in an object that is whole: an object without its
transaction is nobody's, and the next run deletes it. Memory holds one object, however long the log
is; writers wait for the last few milliseconds of a transaction.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

import asyncpg

from reactorcide.eventstore import store
from reactorcide.eventstore.archived import Sealed
from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.eventstore.domain.archive import ARCHIVE, ArchiveState
from reactorcide.eventstore.domain.events import StreamsArchived
from reactorcide.eventstore.domain.once import Make
from reactorcide.eventstore.handle import TransactionDoor, handle_new
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.eventstore.record import SYSTEM, RecordedEvent
from reactorcide.projections import (
    archives,
    audit_events,
    endings,
    rebuild,
    sealed_log,
    shared_store,
)
from reactorcide.projections.archive_draft import Draft
from reactorcide.projections.archives import ArchivedObject
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.replay import Progress
from reactorcide.projections.table import Tabled

_READ: Final = 50
"""Streams read at a time: one may hold some megabytes."""
_PATIENCE_SECONDS: Final = 60.0
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '100ms'"
_BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

_TABLES: Final[tuple[Tabled, ...]] = (
    *(one for one in REGISTRY if one.stream_type in endings.KINDS),
    audit_events.SUBSCRIPTION,
)

# What is not sealed, or not in the audit trail yet, stays where it is.
_SETTLED: Final = """
SELECT min(coalesce(c.position, 0)) FROM unnest(ARRAY['sealed_tiles', 'audit_events']) AS n (name)
LEFT JOIN checkpoints AS c USING (name)"""


class OtherStore(Exception):  # noqa: N818  named by what is so, like the rejections
    """The store is not the one that the API reads, or nobody else could read it."""


class StreamsBusy(Exception):  # noqa: N818  as above
    """Others never left the streams of an object alone for the moment that it takes."""


class _RedactedMeanwhile(Exception):  # noqa: N818  as above
    """An event was redacted after it was written into an object."""


@dataclass(slots=True)
class Archived:
    """What was moved, or would be."""

    streams: int = 0
    events: int = 0
    objects: int = 0
    bytes: int = 0
    left: int = 0
    """Streams that went on while they were being moved: they are where they were."""


async def count(database: Database, before: datetime) -> Archived:
    """Return what `archive` would move as things are; its objects and their bytes are not known."""
    with database_errors():
        connection = await database.connect(role=False, timezone="UTC")
        try:
            settled = await connection.fetchval(_SETTLED)
            streams, events = await endings.count(connection, before, settled)
        finally:
            await connection.close()
    return Archived(streams, events)


async def archive(
    database: Database, objects: ObjectStore, before: datetime, progress: Progress
) -> Archived:
    """Move all streams that ended before a time; the login must own the tables.

    Raises OtherStore, RebuildUnderWay (also for another archive), StreamsBusy, NotAsSealed,
    ObjectStoreError and DatabaseError; what was moved until then stays moved.
    """
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            # Neither may fold what the other deletes; what a killed one has folded is no use then.
            for tabled in _TABLES:
                await rebuild.hold(connection, tabled.name)
                await rebuild.abandon(connection, tabled)
            await archives.hold(connection)
            await _check_store(connection, objects)
            run = _Run(connection, objects, before, progress)
            await run.all()
        finally:
            await connection.close()
    return run.done


async def _check_store(connection: Connection, objects: ObjectStore) -> None:
    if not objects.is_lasting:
        raise OtherStore("what is in a store in memory is gone with this program")
    if not await shared_store.join(connection, await objects.identity()):
        msg = f"{objects.url} is not the store that the API reads"
        raise OtherStore(msg)


class _Run:
    """One run; `done` is what it has moved so far."""

    def __init__(
        self, connection: Connection, objects: ObjectStore, before: datetime, progress: Progress
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._before = before
        self._progress = progress
        self._origin = ""
        self._total = 0
        self.done = Archived()

    async def all(self) -> None:
        """Move everything."""
        self._origin = await sealed_log.origin(self._connection)
        await self._clear()
        settled = await self._connection.fetchval(_SETTLED)
        self._total, _ = await endings.count(self._connection, self._before, settled)
        draft = Draft()
        async for events, seals in self._streams(settled):
            draft.add(events, seals)
            if draft.is_full:
                await self._put(draft)
                draft = Draft()
        await self._put(draft)

    async def _clear(self) -> None:
        """Delete what a killed run put and did not keep."""
        keys = await self._objects.keys(archives.folder_of(self._origin))
        for key in await archives.unknown(self._connection, keys):
            await self._objects.delete_all(key)

    async def _streams(
        self, settled: int
    ) -> AsyncIterator[tuple[list[RecordedEvent], Mapping[int, Sealed]]]:
        """Yield the streams that may go, with their seals."""
        async for found in endings.ended(self._connection, self._before, settled):
            for part in (found[at : at + _READ] for at in range(0, len(found), _READ)):
                streams = await store.read_streams(self._connection, part)
                positions = [event.position for events in streams.values() for event in events]
                seals = await sealed_log.seals_of(self._connection, positions)
                for stream_id in part:
                    yield streams[stream_id], seals

    async def _put(self, draft: Draft) -> None:
        """Write an object, and let it take the place of what it holds."""
        draft.end_block()
        if not draft.streams:
            return
        object_id, content = new_id(), bytes(draft.content)
        key = archives.key_of(self._origin, object_id)
        digest, last = sha256(content).digest(), max(draft.ends)
        made = ArchivedObject(object_id, key, digest, draft.streams, last)
        await self._objects.put(key, _pieces(content))
        await self._objects.sync([key])
        if sha256(await self._objects.read(key)).digest() != made.sha256:
            msg = f"the object store {self._objects.url} did not keep what was put"
            raise StoreUnavailable(msg)
        done = self.done
        if await self._move(made, draft.salted):
            done.streams += len(made.streams)
            done.events += made.events
            done.objects += 1
            done.bytes += len(content)
        else:
            await self._objects.delete_all(key)
            done.left += len(made.streams)
        self._progress(done.streams + done.left, self._total)

    async def _move(self, made: ArchivedObject, salted: Sequence[int]) -> bool:
        """Try until nobody is in the way; False when a stream went on. Raises StreamsBusy."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                async with self._connection.transaction():
                    await self._connection.execute(_LOCK_TIMEOUT)
                    await _replace(self._connection, made)
                    await _check_salts(self._connection, salted)
            except (asyncpg.SerializationError, _RedactedMeanwhile):
                return False
            except _BUSY as error:
                if time.monotonic() > deadline:
                    raise StreamsBusy(str(error)) from error
                await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311  jitter is no secret
            else:
                return True


async def _replace(connection: Connection, made: ArchivedObject) -> None:
    """Record where the streams are, and drop what there is of them; the lock comes last."""
    stream_ids = [one.stream_id for one in made.streams]
    await archives.keep(connection, made)
    fact = StreamsArchived(
        object_key=made.object_key,
        sha256=made.sha256.hex(),
        streams=len(made.streams),
        events=made.events,
        first_position=made.first_position,
        last_position=made.last_position,
    )
    door = TransactionDoor[ArchiveState](connection, lambda _: InlineRows("", ()))
    await handle_new(door, ARCHIVE, made.object_id, Make(fact), SYSTEM)
    await audit_events.drop_streams(connection, stream_ids)
    await archives.delete_events(connection, made.object_id)
    await endings.drop(connection, stream_ids)


async def _check_salts(connection: Connection, salted: Sequence[int]) -> None:
    """Raise _RedactedMeanwhile if the object tells what was erased since it was written."""
    seals = await sealed_log.seals_of(connection, salted)
    if not all(seal.has_salt for seal in seals.values()):
        raise _RedactedMeanwhile


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
