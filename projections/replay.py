"""Folds a projection's streams anew, from the first event on, in one snapshot of the log.

Stream after stream, so that memory holds a thousand of them however long the log is. It
only reads.
"""

import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from reactorcide.eventstore.codec import CodecError, Encoded, decode
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.events import AnyEvent
from reactorcide.projections import copying, table
from reactorcide.projections.copying import Encoding
from reactorcide.projections.folding import Fact
from reactorcide.projections.projection import ByCourse, Projection
from reactorcide.projections.rebuilds import Slice
from reactorcide.projections.throttle import Brake

Row: TypeAlias = tuple[Any, ...]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many events are folded, and how many there are in all."""


# A stream is one row: its id and times as a COPY takes them, and its events as lines of text.
# Whatever is equal in version, type and data is decoded once, by that text as the key; JSON has
# no raw newline.
_EVENTS: Final = """
SELECT uuid_send(stream_id), array_send(array_agg(recorded_at ORDER BY version)),
    string_agg(schema_version || ' ' || type || ' ' || data::text, E'\\n' ORDER BY version)
FROM events WHERE stream_type = $1 AND stream_id BETWEEN $2 AND $3
GROUP BY stream_id ORDER BY stream_id"""
_EVENTS_OF: Final = """
SELECT uuid_send(stream_id), array_send(array_agg(recorded_at ORDER BY version)),
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
) -> AsyncIterator[bytes]:
    """Yield the rows of the slice's streams, in the order of their ids, for `table.copy`.

    `connection` must be in a transaction; REPEATABLE READ, where the caller compares with
    anything else. `folded` is told of so many more events. Raises CodecError and
    IllegalTransition for a log that can't be folded.
    """
    folding = Folding(projection, await table.encoding(connection, projection))
    cursor = await connection.cursor(_EVENTS, projection.stream_type, *part)
    while found := await cursor.fetch(_FETCH):
        before = folding.events
        try:
            rows = folding.encoded(found)
        except CodecError as error:
            raise await folding.located(connection, error) from None
        yield rows
        await folded(folding.events - before)


async def replay_some(
    connection: Connection, projection: Projection, stream_ids: Iterable[UUID]
) -> bytes:
    """Return the rows of some streams, in the order of their ids, for `table.copy`."""
    folding = Folding(projection, await table.encoding(connection, projection))
    found = await connection.fetch(_EVENTS_OF, projection.stream_type, list(stream_ids))
    try:
        return folding.encoded(found)
    except CodecError as error:
        raise await folding.located(connection, error) from None


async def replay_one(connection: Connection, projection: Projection, stream_id: UUID) -> Row | None:
    """Return the row of one stream; None when it has no events."""
    folding = Folding(projection, await table.encoding(connection, projection))
    found = await connection.fetchrow(_EVENTS_OF, projection.stream_type, [stream_id])
    try:
        return None if found is None else folding.values(*found)
    except CodecError as error:
        raise await folding.located(connection, error) from None


class _Mark(int):
    """Stands for the time of an event, counted from 0, in a row that many streams have."""


_Way: TypeAlias = tuple[bytes | slice, ...]
"""The middle of a row, between the stream's id and what its first event says: bytes that all
have that went this way, and where in a stream's times its own are."""
_End: TypeAlias = tuple[dict[str, _Way], bytes]
"""The ways that streams which begin alike can go, by their later events, and the last columns."""
_UNKNOWN: Final[_End] = {}, b""


class Folding:
    """Turns streams into their rows."""

    def __init__(self, projection: Projection, encoding: Encoding) -> None:
        self._projection = projection
        self._encoding = encoding
        self._events: dict[str, AnyEvent] = {}
        self._ends: dict[str, _End | None] = {}
        self._ways: defaultdict[Hashable, dict[str, _Way]] = defaultdict(dict)
        self._at = b"", 0, ""
        self.events = 0
        """How many were folded so far."""

    def encoded(self, found: Iterable[asyncpg.Record | tuple[bytes, bytes, str]]) -> bytes:
        """Fold some more streams; return their rows as a COPY takes them."""
        by_course = self._projection.by_course
        begin = self._encoding.begin + copying.ID_SIZE
        made: list[bytes] = []
        for stream in found:
            stream_id, times, text = stream
            self.events += copying.count_in(times)
            if by_course is None:
                made.append(self._encoding.row(self.values(*stream)))
                continue
            head, _, rest = text.partition("\n")
            end = self._ends.get(head, _UNKNOWN)
            if end is _UNKNOWN:
                end = self._end(by_course, stream_id, head)
            if end is None:
                made.append(self._encoding.row(self.values(*stream)))
                continue
            ways, last_columns = end
            way = ways.get(rest)
            if way is None:
                way = self._way(by_course, stream_id, text)
                _keep(ways, rest, way)
            made += (begin, stream_id)
            made += [part if isinstance(part, bytes) else times[part] for part in way]
            made.append(last_columns)
        return b"".join(made)

    def values(self, stream_id: bytes, times: bytes, text: str) -> Row:
        """Fold one stream."""
        facts: list[Fact[Any]] = list(
            zip(copying.times_in(times), self._all(stream_id, text), strict=True)
        )
        return self._projection.values(UUID(bytes=stream_id), facts)

    def _end(self, by_course: ByCourse, stream_id: bytes, head: str) -> "_End | None":
        """Return what the first event says; None where no course does."""
        first = self._event(stream_id, 1, head)
        like = by_course.like(first)
        end = None
        if like is not None:
            values = by_course.constant(first)
            start = len(self._projection.columns) - len(values)
            end = self._ways[like], self._encoding.fields(values, start)
        _keep(self._ends, head, end)
        return end

    def _way(self, by_course: ByCourse, stream_id: bytes, text: str) -> _Way:
        """Fold a stream for all that go the same way, whenever its events came."""
        events = self._all(stream_id, text)
        marks = [_Mark(number) for number in range(len(events))]
        course = by_course.course(events)
        row = by_course.values(UUID(bytes=stream_id), marks, events[0], course)
        middle = list(enumerate(row))[1 : len(row) - len(by_course.constant(events[0]))]
        way: list[bytes | slice] = []
        for is_time, columns in groupby(middle, lambda column: type(column[1]) is _Mark):
            if is_time:
                way += [copying.time_in(mark) for _, mark in columns]
            else:
                way.append(b"".join([self._encoding.field(*column) for column in columns]))
        return tuple(way)

    def _all(self, stream_id: bytes, text: str) -> list[AnyEvent]:
        """Decode all events of a stream."""
        lines = text.split("\n")
        return [self._event(stream_id, nth, line) for nth, line in enumerate(lines, 1)]

    def _event(self, stream_id: bytes, version: int, text: str) -> AnyEvent:
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
        position = await connection.fetchval(_POSITION, UUID(bytes=stream_id), version)
        try:
            decode(_encoded(text, position))
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
