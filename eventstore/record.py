"""The envelope: what the log keeps around each event.

This module does not know what events mean; `data` is JSON text all the way through.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from reactorcide.eventstore.ids import numbered

ActorType: TypeAlias = Literal["user", "worker", "system", "anonymous"]
"""`anonymous`: a request that came with no token that holds."""
StreamType: TypeAlias = Literal[
    "job", "token", "user", "worker", "redaction", "archive", "projection", "access"
]
Row: TypeAlias = tuple[Any, ...]
"""Columns of a projection's row."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who caused an event, from where, and what else belongs to it."""

    actor_type: ActorType = "system"
    actor_id: UUID | None = None
    """The user's or worker's id; None for the system itself."""
    token_id: UUID | None = None
    """The token that authenticated the request."""
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    correlation_id: UUID | None = None
    """Shared by everything that follows from one request."""
    causation_id: UUID | None = None
    """The event that made somebody issue this command."""


SYSTEM = Context()

new = tuple.__new__
"""`new(Append, (…))` makes a named tuple in half the time: for loops over thousands."""


class NewEvent(NamedTuple):
    """An event that is not recorded yet."""

    event_id: UUID
    type: str
    schema_version: int
    data: str


class Append(NamedTuple):
    """Events for one stream, all or none, if it still stands at `expected_version`."""

    stream_type: StreamType
    stream_id: UUID
    expected_version: int
    """The version of the stream's last event; 0 for a new stream."""
    events: tuple[NewEvent, ...]
    """At least one."""
    context: Context


class Then(NamedTuple):
    """A second event right behind the first in each of many streams."""

    type: str
    schema_version: int
    data: str


class AppendToMany(NamedTuple):
    """One event to each of many streams: the same one but for its id, by the same actor; or two."""

    stream_type: StreamType
    type: str
    schema_version: int
    data: str
    context: Context
    version: int
    """Of the first event, in all the streams."""
    ids_begin: str
    """What the events' ids have in common; see `ids.numbered`."""
    stream_ids: list[UUID]
    then: Then | None = None

    @property
    def last_version(self) -> int:
        """Of all the streams, after the append."""
        return self.version + (self.then is not None)

    def each(self) -> list[Append]:
        """Return what is appended to each stream by itself."""
        said = [self[1:4]] if self.then is None else [self[1:4], self.then]
        return [
            Append(
                self.stream_type,
                stream_id,
                self.version - 1,
                tuple(
                    NewEvent(numbered(self.ids_begin, number), *event)
                    for number, event in enumerate(said, 1 + nth * len(said))
                ),
                self.context,
            )
            for nth, stream_id in enumerate(self.stream_ids)
        ]


class AppendToFound(NamedTuple):
    """One event to each of the streams that the statement finds by itself; see `AppendToMany`."""

    stream_type: StreamType
    type: str
    schema_version: int
    data: str
    context: Context
    ids_begin: str
    """What the events' ids have in common; see `ids.numbered`."""


class AppendToNew(NamedTuple):
    """The first event of each of many new streams: all of one type, all or none.

    The lists are as long as each other. The events' ids are made when they are written.
    """

    stream_type: StreamType
    type: str
    schema_version: int
    contexts: list[Context]
    stream_ids: list[UUID]
    data: list[str]
    rows: list[Row]
    """What a projection's row of each holds beside the stream's id."""


class Appended(NamedTuple):
    """The append is in the log."""

    stream_id: UUID
    version: int
    """The stream's version now."""
    position: int
    """Of its first event; those of the others ascend from there."""
    recorded_at: datetime


class Conflict(NamedTuple):
    """The stream is not at `expected_version`: nothing of this append was written."""

    stream_id: UUID
    expected_version: int


class AppendedToMany(NamedTuple):
    """Which streams stood where they were expected: their events are in the log, no others."""

    stream_ids: frozenset[UUID]
    recorded_at: datetime | None
    """None when nothing was recorded, as far as is known."""


AppendResult: TypeAlias = Appended | Conflict


class RecordedEvent(NamedTuple):
    """An event as the log keeps it: immutable, for ever."""

    position: int
    """Where it stands in the whole log. Ascending within a stream; gaps are normal."""
    event_id: UUID
    stream_type: StreamType
    stream_id: UUID
    version: int
    """Where it stands in its stream: 1, 2, 3 … without gaps."""
    type: str
    schema_version: int
    data: str
    """JSON text of an object."""
    actor_type: ActorType
    actor_id: UUID | None
    token_id: UUID | None
    ip: str | None
    user_agent: str | None
    request_id: str | None
    correlation_id: UUID | None
    causation_id: UUID | None
    recorded_at: datetime
    """The database's clock at the start of the transaction that appended it."""
