"""Folds a projection's streams anew, from the first event on, in one snapshot of the log.

Stream after stream, so that memory holds a thousand of them however long the log is. It
only reads.
"""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from reactorcide.eventstore.codec import CodecError, Encoded, decode
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.events import AnyEvent
from reactorcide.projections.folding import Fact
from reactorcide.projections.projection import Projection
from reactorcide.projections.rebuilds import Slice
from reactorcide.projections.throttle import Brake

Row: TypeAlias = tuple[Any, ...]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many events are folded, and how many there are in all."""


# A stream is one row: its times, and its events as lines of text. Whatever is equal in version,
# type and data is decoded once, by that text as the key; JSON has no raw newline.
_EVENTS: Final = """
SELECT stream_id, array_agg(recorded_at ORDER BY version),
    string_agg(schema_version || ' ' || type || ' ' || data::text, E'\\n' ORDER BY version)
FROM events WHERE stream_type = $1 AND stream_id BETWEEN $2 AND $3
GROUP BY stream_id ORDER BY stream_id"""
_EVENTS_OF: Final = """
SELECT stream_id, array_agg(recorded_at ORDER BY version),
    string_agg(schema_version || ' ' || type || ' ' || data::text, E'\\n' ORDER BY version)
FROM events WHERE stream_type = $1 AND stream_id = ANY ($2::uuid[])
GROUP BY stream_id ORDER BY stream_id"""
# Only when an event can't be read: where it is.
_POSITION: Final = "SELECT position FROM events WHERE stream_id = $1 AND version = $2"
_COUNT: Final = """
SELECT count(*), coalesce(max(position), 0) FROM events WHERE stream_type = $1"""

_FETCH: Final = 1000
_MEMO_CHARACTERS: Final = 600
_MEMO_ENTRIES: Final = 20_000


async def count(connection: Connection, projection: Projection) -> tuple[int, int]:
    """Return how many events there are to fold, and the position of the last one."""
    total, position = await connection.fetchrow(_COUNT, projection.stream_type)  # type: ignore[misc]  # always one row
    return total, position


class Tally:
    """Adds up what is folded, here and elsewhere, and tells it."""

    def __init__(self, total: int, progress: Progress, brake: Brake | None = None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress
        self._brake = brake

    def note(self, events: int) -> None:
        """Note that so many more events are folded."""
        self._done += events
        self._progress(min(self._done, self._total), self._total)

    async def folded(self, events: int) -> None:
        """Note it of what is folded here, and rest as the throttle wants."""
        self.note(events)
        if self._brake is not None:
            await self._brake.rest(events)


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
    connection: Connection,
    projection: Projection,
    part: Slice,
    folded: Callable[[int], Awaitable[None]],
) -> AsyncIterator[Row]:
    """Yield the rows of the slice's streams, in the order of their ids.

    `connection` must be in a transaction; REPEATABLE READ, where the caller compares with
    anything else. `folded` is told of so many more events. Raises CodecError and
    IllegalTransition for a log that can't be folded.
    """
    cursor = await connection.cursor(_EVENTS, projection.stream_type, *part)
    folding = _Folding(projection)
    while found := await cursor.fetch(_FETCH):
        before = folding.events
        try:
            for row in folding.over(found):
                yield row
        except CodecError as error:
            raise await folding.located(connection, error) from None
        await folded(folding.events - before)


async def replay_some(
    connection: Connection, projection: Projection, stream_ids: Iterable[UUID]
) -> list[Row]:
    """Return the rows of some streams, in the order of their ids."""
    found = await connection.fetch(_EVENTS_OF, projection.stream_type, list(stream_ids))
    folding = _Folding(projection)
    try:
        return list(folding.over(found))
    except CodecError as error:
        raise await folding.located(connection, error) from None


class _Folding:
    """Turns streams into their rows."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._events: dict[str, AnyEvent] = {}
        self._courses: dict[str, Any] = {}
        self._at = UUID(int=0), 0, ""
        self.events = 0
        """How many were folded so far."""

    def over(self, found: Iterable[asyncpg.Record]) -> Iterator[Row]:
        """Fold some more streams."""
        by_course = self._projection.by_course
        for stream_id, times, text in found:
            self.events += len(times)
            if by_course is None:
                yield self._projection.values(stream_id, self._facts(stream_id, times, text))
                continue
            head, _, rest = text.partition("\n")
            first = self._event(stream_id, 1, head)
            if not by_course.applies(first):
                yield self._projection.values(stream_id, self._facts(stream_id, times, text))
                continue
            course = self._courses.get(rest)
            if course is None:
                course = by_course.course([at[1] for at in self._facts(stream_id, times, text)])
                _keep(self._courses, rest, course)
            yield by_course.values(stream_id, times, first, course)

    def _facts(self, stream_id: UUID, times: Iterable[datetime], text: str) -> list[Fact[Any]]:
        """Decode all events of a stream."""
        lines = text.split("\n")
        events = [self._event(stream_id, nth, line) for nth, line in enumerate(lines, 1)]
        return list(zip(times, events, strict=True))

    def _event(self, stream_id: UUID, version: int, text: str) -> AnyEvent:
        """Decode, or look it up: most short events say the same as another, and are immutable."""
        known = self._events.get(text)
        if known is not None:
            return known
        self._at = stream_id, version, text
        event = decode(_encoded(text, 0))
        _keep(self._events, text, event)
        return event

    async def located(self, connection: Connection, error: CodecError) -> CodecError:
        """Return the error about the event that was decoded last, with its position."""
        stream_id, version, text = self._at
        try:
            decode(_encoded(text, await connection.fetchval(_POSITION, stream_id, version)))
        except CodecError as located:
            return located
        return error


def _encoded(text: str, position: int) -> Encoded:
    schema_version, kind, data = text.split(" ", 2)
    return Encoded(position, kind, int(schema_version), data)


def _keep(memo: dict[str, Any], text: str, made: Any) -> None:  # noqa: ANN401  whatever is kept
    if len(text) <= _MEMO_CHARACTERS:
        if len(memo) >= _MEMO_ENTRIES:
            memo.clear()
        memo[text] = made
