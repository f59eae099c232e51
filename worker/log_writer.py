"""Writes the log chunks of all attempts of a worker: what arrives together goes together.

A batch is what has queued while the last one was in flight; a lone chunk goes at once.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from reactorcide.eventstore.database import DatabaseUnavailable, Reader, database_errors
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.projections.log_chunks import LogChunk, append_chunks
from reactorcide.worker.coordinator import AttemptKey, Chunk


class _Batch:
    """Chunks that go in one statement, and what came of it."""

    def __init__(self) -> None:
        self.chunks: list[LogChunk] = []
        self.refused: asyncio.Future[frozenset[tuple[UUID, int]]] = (
            asyncio.get_running_loop().create_future()
        )


class LogWriter:
    """Shared by all attempts. Has no task of its own: the first of a batch writes it."""

    def __init__(self, connection: Reader) -> None:
        self._connection = connection
        self._in_flight = asyncio.Lock()
        self._next: _Batch | None = None

    async def write(self, key: AttemptKey, chunks: Sequence[Chunk]) -> None:
        """Write chunks; may be repeated. Raises NotLeaseHolder and DatabaseError."""
        if self._next is None:
            self._next = _Batch()
        batch = self._next
        batch.chunks += [
            LogChunk(*key, chunk.seq, chunk.stream, chunk.printed_at, chunk.data)
            for chunk in chunks
        ]
        async with self._in_flight:
            if self._next is batch:
                self._next = None
                await self._send(batch)
        if key in await asyncio.shield(batch.refused):
            raise NotLeaseHolder(key.attempt, key.attempt, "no longer held")

    async def _send(self, batch: _Batch) -> None:
        try:
            with database_errors():
                refused = await append_chunks(self._connection, batch.chunks)
        except BaseException as error:
            # Cancelled or not, this batch is over for all who wait for it.
            batch.refused.set_exception(
                error if isinstance(error, Exception) else DatabaseUnavailable("interrupted")
            )
            batch.refused.exception()
            raise
        batch.refused.set_result(refused)
