"""What any process does about the object store beside its work: fill it, and keep it clean.

Logs of attempts that have ended go there and out of the table; what crashes left there goes, and
what belonged to deleted jobs. Nobody waits for any of it: no leader, and whoever is late finds it
done. It holds no rule about jobs.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, Reader, database_errors
from reactorcide.eventstore.objects import ObjectStore, ObjectStoreError
from reactorcide.projections import log_chunks, log_objects, shared_store, unfinished_objects
from reactorcide.projections.log_blocks import Layout, encode
from reactorcide.projections.log_chunks import LogChunk, Part
from reactorcide.projections.log_objects import LogObject
from reactorcide.projections.small_logs import SmallLogs
from reactorcide.projections.unfinished_objects import Unfinished

LEFT_SECONDS: Final = 3600.0
"""Nobody puts objects for longer than this after they were noted."""

_BLOCK_BYTES: Final = 256 * 1024
_BATCH: Final = 20
_FIRST_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 2.0
_SWEEP_SECONDS: Final = 10.0
_FAILED_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


async def store_logs(connection: Reader, objects: ObjectStore, limit: int = _BATCH) -> int:
    """Put the logs of some ended attempts into the store; return how many were to be had.

    Raises DatabaseError and ObjectStoreError; a log is then where it was, and is tried again
    some minutes later.
    """
    with database_errors():
        taken = await unfinished_objects.take_logs(connection, limit)
        waiting = list(taken)
        try:
            while waiting:
                await store_log(connection, objects, waiting.pop(0))
        finally:
            for untouched in waiting:
                await unfinished_objects.forget(connection, untouched)
    return len(taken)


async def store_log(connection: Reader, objects: ObjectStore, unfinished: Unfinished) -> None:
    """Put one log; whatever happens on the way, the note says where something may lie."""
    key = unfinished.prefix
    writing = Writing(connection, unfinished)
    await objects.put(key, writing.blocks())
    await objects.sync([key])
    made = LogObject(unfinished.job_id, unfinished.attempt, key, writing.layout)
    if not await log_objects.keep(connection, made):
        await objects.delete_all(key)
        await unfinished_objects.forget(connection, unfinished)


class Writing:
    """The log of one attempt on its way into an object."""

    def __init__(self, connection: Reader, unfinished: Unfinished) -> None:
        self._connection = connection
        self._part = Part(unfinished.job_id, unfinished.attempt)
        self.layout = Layout()
        """Of the blocks so far."""

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the blocks."""
        after = (0, 0)
        waiting: list[LogChunk] = []
        while found := await log_chunks.read(self._connection, self._part, after, _BLOCK_BYTES):
            after = (found[-1].attempt, found[-1].seq)
            waiting += found
            if sum(len(chunk.bytes) for chunk in waiting) >= _BLOCK_BYTES:
                yield await self._block(waiting)
                waiting = []
        if waiting:
            yield await self._block(waiting)

    async def _block(self, chunks: list[LogChunk]) -> bytes:
        block = await asyncio.to_thread(encode, chunks)
        self.layout = self.layout.with_block(len(block), chunks)
        return block


async def sweep(
    connection: Reader, objects: ObjectStore, left_seconds: float = LEFT_SECONDS
) -> int:
    """Remove what crashes and deleted jobs left; return how much there was.

    Raises DatabaseError and ObjectStoreError; what was not removed then is found again.
    """
    with database_errors():
        deleted = await unfinished_objects.deleted(connection, _BATCH)
        for unfinished, has_objects in deleted:
            if has_objects:
                await objects.delete_all(unfinished.prefix)
            await unfinished_objects.forget_job(connection, unfinished.job_id)
        left = await unfinished_objects.left(connection, left_seconds, _BATCH)
        for unfinished in left:
            await objects.delete_all(unfinished.prefix)
            await unfinished_objects.forget(connection, unfinished)
        await unfinished_objects.forget_undeleted(connection, left_seconds)
    return len(deleted) + len(left)


class ObjectUpkeep:
    """Does both every few seconds, while its `async with` block lasts; owns a task.

    Only on the store that the API reads, and on none that ends with this process. `is_reader`:
    this process is the API, so its store is the one.
    """

    def __init__(self, pool: Pool, objects: ObjectStore, *, is_reader: bool = False) -> None:
        self._pool = pool
        self._objects = objects
        self._is_reader = is_reader
        self._identity: UUID | None = None
        self._background = Background({"object-upkeep": self._serve})
        self._trouble: str | None = None
        self._swept_at = float("-inf")
        self._small_logs = SmallLogs(pool, objects)

    async def __aenter__(self) -> Self:
        """Start."""
        if self._objects.is_lasting:
            self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what was under way is found by others, or by the next of this kind."""
        await self._background.stop()

    async def _serve(self) -> None:
        await asyncio.sleep(_FIRST_SECONDS)  # to open a store takes 40 ms of a program's start
        while True:
            pause = _PAUSE_SECONDS
            try:
                has_more = await self._pass()
                pause = 0.0 if has_more else pause
            except (DatabaseError, ObjectStoreError) as error:
                pause = _FAILED_SECONDS
                self._tell(error.detail)
            except Exception:  # noqa: BLE001  the edge of a pass: the next may do better
                pause = _FAILED_SECONDS
                _log.exception("object_upkeep_broken")
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter

    async def _pass(self) -> bool:
        """Do what there is to do, a batch of it; return whether there may be more."""
        if not await self._is_ours():
            return False
        if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await sweep(self._pool, self._objects)
        stored = await store_logs(self._pool, self._objects)
        small = await self._small_logs.store_some() if stored < _BATCH else 0
        if stored or small:
            _log.debug("logs_stored", count=stored, small=small)
        return stored >= _BATCH

    async def _is_ours(self) -> bool:
        """Tell whether this process's store is the one, and see to it if that is for us to say."""
        with database_errors():
            if self._identity is None:
                identity = await self._objects.identity()
                if self._is_reader:
                    await shared_store.announce(self._pool, identity)
                self._identity = identity
            known = await shared_store.known(self._pool)
        if known not in {None, self._identity}:
            self._tell(f"{self._objects.url} is not the store that the API reads")
        else:
            self._tell(None)
        return known == self._identity

    def _tell(self, trouble: str | None) -> None:
        """Say what is wrong, once for as long as it is."""
        if trouble is not None and self._trouble is None:
            _log.warning("object_upkeep_held_up", detail=trouble)
        self._trouble = trouble
