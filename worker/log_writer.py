"""Writes the log chunks of all attempts of a worker: what arrives together goes together.

A batch is what has queued while the last one was in flight; a lone chunk goes at once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import DatabaseUnavailable, Reader, database_errors
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.projections.log_chunks import LogChunk, append_chunks
from reactorcide.worker.coordinator import AttemptKey, Chunk

_STATEMENT_BYTES: Final = 2 * 1024 * 1024


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
        refused: frozenset[tuple[UUID, int]] = frozenset()
        try:
            with database_errors():
                for chunks in _statements(batch.chunks):
                    refused |= await append_chunks(self._connection, chunks)
        except BaseException as error:
            # Cancelled or not, this batch is over for all who wait for it.
            batch.refused.set_exception(
                error if isinstance(error, Exception) else DatabaseUnavailable("interrupted")
            )
            batch.refused.exception()
            raise
        batch.refused.set_result(refused)


def _statements(chunks: Sequence[LogChunk]) -> Iterator[list[LogChunk]]:
    """Yield chunks in parts of about `_STATEMENT_BYTES`: the driver copies each part whole."""
    part: list[LogChunk] = []
    size = 0
    for chunk in chunks:
        part.append(chunk)
        size += len(chunk.bytes)
        if size >= _STATEMENT_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
