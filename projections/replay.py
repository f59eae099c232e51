"""Folds a projection's streams anew, from the first event on, in one snapshot of the log.

Stream after stream, so that memory holds a few thousand events however long the log is. It
only reads.
"""

import gc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from reactorcide.eventstore.codec import Encoded, decode
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.events import AnyEvent
from reactorcide.projections.folding import Fact
from reactorcide.projections.projection import Projection

Row: TypeAlias = tuple[Any, ...]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many events are folded, and how many there are in all."""


class Slice(NamedTuple):
    """The streams from one id to another, both included."""

    first: UUID
    last: UUID


EVERYTHING: Final = Slice(UUID(int=0), UUID(int=2**128 - 1))

# Version, type and data as one text: whatever is equal in all three is decoded once, by one key.
_EVENTS: Final = """
SELECT stream_id, recorded_at, schema_version || ' ' || type || ' ' || data::text, position
FROM events WHERE stream_type = $1 AND stream_id BETWEEN $2 AND $3
ORDER BY stream_id, version"""
_EVENTS_OF: Final = """
SELECT stream_id, recorded_at, schema_version || ' ' || type || ' ' || data::text, position
FROM events WHERE stream_type = $1 AND stream_id = ANY ($2::uuid[]) ORDER BY stream_id, version"""
_COUNT: Final = """
SELECT count(*), coalesce(max(position), 0) FROM events WHERE stream_type = $1"""

_NO_STREAM: Final = UUID(int=0)
_FETCH: Final = 4000
_MEMO_CHARACTERS: Final = 200
_MEMO_ENTRIES: Final = 20_000


async def count(connection: Connection, projection: Projection) -> tuple[int, int]:
    """Return how many events there are to fold, and the position of the last one."""
    total, position = await connection.fetchrow(_COUNT, projection.stream_type)  # type: ignore[misc]  # always one row
    return total, position


class Tally:
    """Adds up what is folded, here and elsewhere, and tells it."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def __call__(self, events: int) -> None:
        """Note that so many more events are folded."""
        self._done += events
        self._progress(self._done, self._total)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from a fold: it makes no cycles, and many objects.

    Looking for them took a quarter of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def replay(
    connection: Connection, projection: Projection, part: Slice, folded: Callable[[int], None]
) -> AsyncIterator[Row]:
    """Yield the rows of the slice's streams, in the order of their ids.

    `connection` must be in a transaction; REPEATABLE READ, where the caller compares with
    anything else. `folded` is told of so many more events. Raises CodecError and
    IllegalTransition for a log that can't be folded.
    """
    cursor = await connection.cursor(_EVENTS, projection.stream_type, *part)
    folding = _Folding(projection)
    while found := await cursor.fetch(_FETCH):
        for row in folding.over(found):
            yield row
        folded(len(found))
    for row in folding.rest():
        yield row


async def replay_some(
    connection: Connection, projection: Projection, stream_ids: Iterable[UUID]
) -> list[Row]:
    """Return the rows of some streams, in the order of their ids."""
    found = await connection.fetch(_EVENTS_OF, projection.stream_type, list(stream_ids))
    folding = _Folding(projection)
    return [*folding.over(found), *folding.rest()]


class _Folding:
    """Turns events, ordered by stream and version, into the rows of their streams."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._stream_id = _NO_STREAM
        self._facts: list[Fact[Any]] = []
        self._memo: dict[str, AnyEvent] = {}

    def over(self, found: Iterable[asyncpg.Record]) -> Iterator[Row]:
        """Fold some more events; yield the rows of the streams that are over by now."""
        values, known = self._projection.values, self._memo.get
        facts, current = self._facts, self._stream_id
        for stream_id, recorded_at, text, position in found:
            event = known(text) or self._decoded(text, position)
            if stream_id != current:
                if facts:
                    yield values(current, facts)
                facts, current = [], stream_id
            facts.append((recorded_at, event))
        self._facts, self._stream_id = facts, current

    def _decoded(self, text: str, position: int) -> AnyEvent:
        """Decode; keep what is short, since most short events say the same as another."""
        schema_version, kind, data = text.split(" ", 2)
        event = decode(Encoded(position, kind, int(schema_version), data))
        if len(text) <= _MEMO_CHARACTERS:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[text] = event
        return event

    def rest(self) -> Iterator[Row]:
        """Yield the row of the last stream."""
        if self._facts:
            yield self._projection.values(self._stream_id, self._facts)
