"""An archive's object while it is being filled: whole streams as lines, in gzip members.

In memory, and of a bounded size: it reads no table and puts nothing anywhere. A line's form is
that of `eventstore.archived`.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from reactorcide.eventstore.archived import NotAsSealed, Sealed, line_of
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import jobs
from reactorcide.projections.archives import ArchivedStream

OBJECT_BYTES: Final = 4 * 1024 * 1024
OBJECT_STREAMS: Final = 1000
_BLOCK_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Draft:
    """An object on its way. What is in its open block is in `content` once that was ended."""

    content: bytearray = field(default_factory=bytearray)
    streams: list[ArchivedStream] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)
    """When the latest event of each stream was recorded."""
    salted: list[int] = field(default_factory=list)
    """The positions of the events that are not redacted."""
    _lines: bytearray = field(default_factory=bytearray)
    _open: list[Sequence[RecordedEvent]] = field(default_factory=list)

    def add(self, events: Sequence[RecordedEvent], seals: Mapping[int, Sealed]) -> None:
        """Add a whole stream. Raises NotAsSealed."""
        lines = _lines(events, seals)
        self.salted += [one.position for one in events if seals[one.position].has_salt]
        self._open.append(events)
        self.ends.append(max(one.recorded_at for one in events))
        self._lines += b"".join(lines)
        if len(self._lines) >= _BLOCK_BYTES:
            self.end_block()

    def end_block(self) -> None:
        """End the block, a gzip member, if there is anything in it."""
        if not self._open:
            return
        start = len(self.content)
        self.content += gzip.compress(self._lines, mtime=0)
        end = len(self.content)
        self.streams += [_placed(events, start, end) for events in self._open]
        self._open.clear()
        self._lines.clear()

    @property
    def is_full(self) -> bool:
        """Whether it is large enough."""
        count = len(self.streams) + len(self._open)
        return count >= OBJECT_STREAMS or len(self.content) + len(self._lines) >= OBJECT_BYTES


def _placed(events: Sequence[RecordedEvent], start: int, end: int) -> ArchivedStream:
    """Return a whole stream that lies between two bytes."""
    first, last = events[0], events[-1]
    return ArchivedStream(
        stream_id=first.stream_id,
        events=len(events),
        first_position=first.position,
        last_position=last.position,
        block_start=start,
        block_end=end,
        stream_type=first.stream_type,
        ended_as=jobs.ended_as(events),
    )


def _lines(events: Sequence[RecordedEvent], seals: Mapping[int, Sealed]) -> list[bytes]:
    """Return the lines of a stream. Raises NotAsSealed."""
    for event in events:
        if event.position not in seals:
            raise NotAsSealed(event.position)
    return [line_of(event, seals[event.position]) for event in events]
