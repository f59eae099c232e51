"""Commands against the log: load, fold, decide, append, and again when somebody was faster.

The one imperative loop around the pure rules. It knows no particular rule and no table.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from reactorcide.eventstore import store
from reactorcide.eventstore.codec import decode, encode
from reactorcide.eventstore.database import Connection, Reader, database_errors
from reactorcide.eventstore.domain.decider import Decider, fold
from reactorcide.eventstore.domain.events import Event
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import Rows
from reactorcide.eventstore.record import (
    Append,
    Appended,
    AppendResult,
    Conflict,
    Context,
    RecordedEvent,
)

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)

_ATTEMPTS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 0.001


class ConflictPersists(Exception):  # noqa: N818  named by what is so, like the rejections
    """Somebody else changed the stream each time; nothing was appended."""

    def __init__(self, stream_id: UUID, attempts: int) -> None:
        super().__init__(f"stream {stream_id} changed under {attempts} attempts to append")
        self.stream_id = stream_id
        self.attempts = attempts


class Change(NamedTuple, Generic[S]):
    """What a projection is told about one append."""

    stream_id: UUID
    version: int
    """After the append."""
    state: S
    """After the append."""
    events: tuple[Event, ...]
    """The new ones."""


@dataclass(frozen=True, slots=True)
class Handled(Generic[S, E]):
    """What a command came to."""

    stream_id: UUID
    state: S
    version: int
    history: tuple[RecordedEvent, ...]
    """What was read before the decision; empty for a new stream."""
    events: tuple[E, ...]
    """The new ones; none when it was "already so"."""
    recorded_at: datetime | None
    """When the new ones were recorded; None without any."""


class AppendDoor(Protocol[S]):
    """Through which appends go in, together with their inline rows."""

    async def append(self, units: Sequence[tuple[Append, Change[S]]]) -> list[AppendResult]:
        """Append the units, in one statement; the results are in their order."""
        ...


class TransactionDoor(Generic[S]):
    """Appends on the caller's connection, inside of its transaction if it opened one."""

    def __init__(self, connection: Connection, rows: Callable[[Sequence[Change[S]]], Rows]) -> None:
        self._connection = connection
        self._rows = rows

    async def append(self, units: Sequence[tuple[Append, Change[S]]]) -> list[AppendResult]:
        """Append the units in one statement of the connection."""
        rows = self._rows([change for _, change in units])
        with database_errors():
            return await store.append(self._connection, [append for append, _ in units], rows)


def decided(  # noqa: PLR0913, PLR0917  a stream's whole situation, and the command
    decider: Decider[S, C, E],
    state: S,
    version: int,
    stream_id: UUID,
    command: C,
    context: Context,
) -> tuple[Append, Change[S]] | None:
    """Decide one command for the caller's batch; None when it is already so.

    Raises CommandRejected.
    """
    events = decider.decide(state, command)
    if not events:
        return None
    new = []
    for event in events:
        state = decider.evolve(state, event)
        new.append(encode(new_id(), event))
    append = Append(decider.stream_type, stream_id, version, tuple(new), context)
    return append, Change(stream_id, version + len(new), state, events)


async def handle(  # noqa: PLR0913, PLR0917  what, to which stream, by whom, through which doors
    read: Reader,
    write: AppendDoor[S],
    decider: Decider[S, C, E],
    stream_id: UUID,
    command: C,
    context: Context,
    attempts: int = _ATTEMPTS,
) -> Handled[S, E]:
    """Issue a command to a stream as it now stands, again after each conflict.

    Nothing is appended when the rules decide nothing. Raises CommandRejected,
    ConflictPersists, CodecError and DatabaseError.
    """
    stream = _Stream(stream_id, decider.initial, 0, ())
    for attempt in range(attempts):
        if attempt > 1:
            await asyncio.sleep(_pause_seconds(attempt))
        stream = await _caught_up(read, decider, stream)
        handled = await _tried(write, decider, stream, command, context)
        if handled is not None:
            return handled
    raise ConflictPersists(stream_id, attempts)


async def handle_new(
    write: AppendDoor[S], decider: Decider[S, C, E], stream_id: UUID, command: C, context: Context
) -> Handled[S, E]:
    """Issue a command to a stream that does not exist yet: nothing to load.

    Raises CommandRejected and DatabaseError; ConflictPersists when the stream exists.
    """
    stream = _Stream(stream_id, decider.initial, 0, ())
    handled = await _tried(write, decider, stream, command, context)
    if handled is None:
        raise ConflictPersists(stream_id, 1)
    return handled


@dataclass(frozen=True, slots=True)
class _Stream(Generic[S]):
    """A stream as it was read."""

    stream_id: UUID
    state: S
    version: int
    history: tuple[RecordedEvent, ...]


async def _caught_up(read: Reader, decider: Decider[S, C, E], stream: _Stream[S]) -> _Stream[S]:
    """Read what was appended since, and fold it in."""
    with database_errors():
        recorded = await store.read_stream(read, stream.stream_id, stream.version)
    if not recorded:
        return stream
    events: list[E] = [decode(one) for one in recorded]  # type: ignore[misc]  # one stream, one union
    return _Stream(
        stream.stream_id,
        fold(decider, events, stream.state),
        recorded[-1].version,
        (*stream.history, *recorded),
    )


async def _tried(
    write: AppendDoor[S],
    decider: Decider[S, C, E],
    stream: _Stream[S],
    command: C,
    context: Context,
) -> Handled[S, E] | None:
    """Decide and append once; None after a conflict."""
    unit = decided(decider, stream.state, stream.version, stream.stream_id, command, context)
    if unit is None:
        return Handled(stream.stream_id, stream.state, stream.version, stream.history, (), None)
    change = unit[1]
    match (await write.append([unit]))[0]:
        case Conflict():
            return None
        case Appended(recorded_at=recorded_at):
            events: tuple[E, ...] = change.events  # type: ignore[assignment]  # as decided above
            return Handled(
                stream.stream_id, change.state, change.version, stream.history, events, recorded_at
            )


def _pause_seconds(attempt: int) -> float:
    """Full jitter, doubling: 2 ms at the second repetition, at most 64 ms."""
    return random.random() * _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 6)  # noqa: S311  no secret
