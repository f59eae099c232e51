"""Puts the small logs of ended attempts into the store as well, when they have rested for a while.

They are many, and an object for each is dear: so they go in batches, and all of this takes a
twentieth of a process's time at most. Where more small logs are made than that, the rest waits in
the table. It decides no more than when: what counts is decided by the tables.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Reader, database_errors
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import log_chunks, log_objects, unfinished_objects
from reactorcide.projections.log_blocks import Layout, encode
from reactorcide.projections.log_chunks import LogChunk
from reactorcide.projections.log_objects import LogObject
from reactorcide.projections.unfinished_objects import Unfinished

REST_SECONDS: Final = 60.0
"""What was begun less long ago stays where it is: it is being read, and its job may be too."""

_BATCH: Final = 50
_AT_ONCE: Final = 4
_SHARE: Final = 20.0
_LONGEST_PAUSE_SECONDS: Final = 20.0
"""One look that was held up, on a machine that does something else, puts nothing off for long."""

_FROM_THE_TOP: Final = (UUID(int=0), 0)


class SmallLogs:
    """Walks over all logs in the table, from the oldest job to the youngest, again and again."""

    def __init__(
        self, connection: Reader, objects: ObjectStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._clock = clock
        self._after = _FROM_THE_TOP
        self._not_before = float("-inf")

    async def store_some(self, rest_seconds: float = REST_SECONDS) -> int:
        """Put the next few into the store, unless it is too early; return how many.

        Raises DatabaseError and ObjectStoreError; a log is then where it was, and is tried again
        some minutes later.
        """
        began = self._clock()
        if began < self._not_before:
            return 0
        try:
            with database_errors():
                taken, after = await unfinished_objects.take_small_logs(
                    self._connection, self._after, _BATCH, rest_seconds
                )
                self._after = after or _FROM_THE_TOP
                if taken:
                    await store_together(self._connection, self._objects, taken)
        finally:
            ended = self._clock()
            pause = min((ended - began) * _SHARE, _LONGEST_PAUSE_SECONDS)
            self._not_before = ended + pause
        return len(taken)


async def store_together(
    connection: Reader, objects: ObjectStore, taken: Sequence[Unfinished]
) -> None:
    """Put small logs, an object each; the database is asked, and the disk flushed, once for all."""
    chunks = await log_chunks.read_all(connection, [(one.job_id, one.attempt) for one in taken])
    there = [one for one in taken if (one.job_id, one.attempt) in chunks]
    if there:
        written = [chunks[one.job_id, one.attempt] for one in there]
        blocks = await asyncio.to_thread(lambda: [encode(log) for log in written])
        await _put_all(
            objects, {one.prefix: block for one, block in zip(there, blocks, strict=True)}
        )
        made = [
            LogObject(one.job_id, one.attempt, one.prefix, _layout(block, log))
            for one, block, log in zip(there, blocks, written, strict=True)
        ]
        kept = await log_objects.keep_small(connection, made)
        for one in there:
            if one.prefix not in kept:
                await objects.delete_all(one.prefix)
    await unfinished_objects.forget(connection, *taken)


async def _put_all(objects: ObjectStore, blocks: dict[str, bytes]) -> None:
    """Put objects, some at a time, and flush them."""
    waiting = iter(blocks.items())

    async def put_some() -> None:
        for key, block in waiting:
            await objects.put(key, _once(block))

    try:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(_AT_ONCE):
                lanes.create_task(put_some())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    await objects.sync(list(blocks))


async def _once(block: bytes) -> AsyncIterator[bytes]:
    yield block


def _layout(block: bytes, log: Sequence[LogChunk]) -> Layout:
    return Layout().with_block(len(block), log)
