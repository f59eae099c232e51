"""A job's log wherever it is: chunks in the table while it grows, and one object afterwards.

An attempt's log is in one of the two places, and goes from the first to the second in one step.
So the table is asked first, and what is not there any more is in the store. Writes nothing.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.objects import ObjectMissing, ObjectStore, StoreUnavailable
from reactorcide.projections import log_chunks, log_objects
from reactorcide.projections.log_blocks import decode
from reactorcide.projections.log_chunks import LogChunk, Part, Stream
from reactorcide.projections.log_objects import LogObject

_SLICE_BYTES: Final = 1 << 20
_LAST: Final = 2**31 - 1


class _Piece(NamedTuple):
    """Some bytes of one attempt's log, of one of its streams or of both."""

    attempt: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Logs:
    """Reads logs. Each method may raise DatabaseError and, of what lies there, ObjectStoreError."""

    connection: Reader
    objects: ObjectStore

    async def read(
        self, part: Part, after: tuple[int, int] = (0, 0), limit_bytes: int = _SLICE_BYTES
    ) -> list[LogChunk]:
        """Return the next chunks after `(attempt, seq)`, in order; [] when there are none yet.

        About `limit_bytes` of them, all of one attempt.
        """
        found = await log_chunks.read(self.connection, part, after, limit_bytes)
        attempt = found[0].attempt if found else _LAST
        if not found or (part.attempt is None and attempt > max(after[0], 1)):
            for stored in await log_objects.find(self.connection, part.job_id, part.attempt):
                if after[0] <= stored.attempt < attempt:
                    seq = after[1] if stored.attempt == after[0] else 0
                    if chunks := await self._next(stored, part.stream, seq, limit_bytes):
                        return chunks
        return [chunk for chunk in found if chunk.attempt == attempt]

    async def chunks(self, part: Part, after: tuple[int, int] = (0, 0)) -> AsyncIterator[LogChunk]:
        """Yield all chunks that there are by now."""
        while found := await self.read(part, after):
            for chunk in found:
                yield chunk
            after = (found[-1].attempt, found[-1].seq)

    async def size(self, part: Part) -> int:
        """Return how many bytes a part of a log has by now."""
        return sum((await self._sizes(part)).values())

    async def slices(self, part: Part, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield bytes `start` (included) to `stop` (not included) of a part laid end to end."""
        sizes = await self._sizes(part)
        for piece in _pieces(sizes, start, stop):
            for begin in range(piece.start, piece.stop, _SLICE_BYTES):
                end = min(begin + _SLICE_BYTES, piece.stop)
                yield await self._slice(part, _Piece(piece.attempt, begin, end))

    async def tail(self, part: Part, lines: int) -> list[LogChunk]:
        """Return the last `lines` lines, in order; the first chunk may begin in its middle."""
        return await log_chunks.tail_of(self._backwards(part), lines)

    async def _sizes(self, part: Part) -> dict[int, int]:
        """Return how many bytes each attempt has printed, by attempt."""
        sizes = await log_chunks.sizes(self.connection, part)
        for stored in await log_objects.find(self.connection, part.job_id, part.attempt):
            sizes[stored.attempt] = stored.layout.size(part.stream)
        return dict(sorted(sizes.items()))

    async def _slice(self, part: Part, piece: _Piece) -> bytes:
        """Return one piece, which may go from the table into the store at any time."""
        one = replace(part, attempt=piece.attempt)
        found = await log_chunks.read_range(self.connection, one, piece.start, piece.stop)
        if len(found) == piece.stop - piece.start:
            return found
        for stored in await log_objects.find(self.connection, part.job_id, piece.attempt):
            return await self._cut(stored, part.stream, piece)
        return found

    async def _cut(self, stored: LogObject, stream: Stream | None, piece: _Piece) -> bytes:
        """Return one piece of an object's log."""
        ends = stored.layout.ends(stream)
        first = bisect_right(ends, piece.start)
        last = bisect_right(ends, piece.stop - 1)
        begin = ends[first - 1] if first else 0
        chunks = await self._blocks(stored, first, last + 1)
        data = b"".join(chunk.bytes for chunk in _of(stream, chunks))
        return data[piece.start - begin : piece.stop - begin]

    async def _next(
        self, stored: LogObject, stream: Stream | None, seq: int, limit_bytes: int
    ) -> list[LogChunk]:
        """Return the chunks of an object after `seq`, as many as come near `limit_bytes`."""
        ends, first = stored.layout.ends(None), stored.layout.after(seq)
        while first < stored.layout.blocks:
            begin = ends[first - 1] if first else 0
            stop = max(bisect_right(ends, begin + limit_bytes), first + 1)
            chunks = await self._blocks(stored, first, stop)
            if found := [chunk for chunk in _of(stream, chunks) if chunk.seq > seq]:
                return found
            first = stop
        return []

    async def _backwards(self, part: Part) -> AsyncIterator[LogChunk]:
        """Yield the chunks of a part, the last one first."""
        before = (_LAST, _LAST)
        while True:
            found = await log_chunks.read_back(self.connection, part, before)
            attempt = found[0].attempt if found else 0
            stored = await self._last_object(part, attempt, before)
            if stored is not None:
                async for chunk in self._back(stored, part.stream, before):
                    yield chunk
                before = (stored.attempt, 0)
            elif found:
                for chunk in found:
                    if chunk.attempt == attempt:
                        yield chunk
                        before = (attempt, chunk.seq)
            else:
                return

    async def _last_object(
        self, part: Part, above: int, before: tuple[int, int]
    ) -> LogObject | None:
        """Return the last object of an attempt above one that is in the table."""
        if part.attempt is not None and above:
            return None
        stored = await log_objects.find(self.connection, part.job_id, part.attempt)
        fitting = [one for one in stored if above < one.attempt and (one.attempt, 1) < before]
        return fitting[-1] if fitting else None

    async def _back(
        self, stored: LogObject, stream: Stream | None, before: tuple[int, int]
    ) -> AsyncIterator[LogChunk]:
        """Yield the chunks of an object before a place, the last one first."""
        limit = before[1] if before[0] == stored.attempt else _LAST
        for block in range(stored.layout.holding(limit), -1, -1):
            for chunk in reversed(await self._blocks(stored, block, block + 1)):
                if chunk.seq < limit and stream in {None, chunk.stream}:
                    yield chunk

    async def _blocks(self, stored: LogObject, first: int, stop: int) -> list[LogChunk]:
        """Return the chunks of some blocks, which are next to each other."""
        start, end = stored.layout.place(first, stop)
        try:
            data = await self.objects.read(stored.object_key, start, end)
            return await asyncio.to_thread(decode, data, stored.job_id)
        except (ObjectMissing, ValueError) as error:
            detail = f"the log {stored.object_key} is not in the object store {self.objects.url}"
            raise StoreUnavailable(detail) from error


def _pieces(sizes: dict[int, int], start: int, stop: int) -> Iterator[_Piece]:
    """Yield what of each attempt lies between `start` and `stop` of all laid end to end."""
    begin = 0
    for attempt, size in sizes.items():
        first, last = max(start - begin, 0), min(stop - begin, size)
        if first < last:
            yield _Piece(attempt, first, last)
        begin += size


def _of(stream: Stream | None, chunks: Sequence[LogChunk]) -> Iterable[LogChunk]:
    """Return the chunks of one stream, or of both."""
    return (chunk for chunk in chunks if stream in {None, chunk.stream})
