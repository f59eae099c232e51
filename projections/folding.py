"""Folds a stream's facts into one row. Pure: no clock, no randomness, no I/O."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar
from uuid import UUID

from reactorcide.eventstore.codec import decode
from reactorcide.eventstore.domain.events import Event
from reactorcide.eventstore.handle import Handled
from reactorcide.eventstore.record import RecordedEvent

R = TypeVar("R")
S = TypeVar("S")
E = TypeVar("E", bound=Event)

Fact: TypeAlias = tuple[datetime, E]
"""What happened, and when it was recorded."""
Folded: TypeAlias = Callable[[UUID, Sequence[Fact[E]]], R]
"""From a stream's id and all its facts, one at least, to its row."""


def facts_of(recorded: Iterable[RecordedEvent]) -> list[Fact[E]]:
    """Decode recorded events. Raises CodecError."""
    return [(one.recorded_at, decode(one)) for one in recorded]  # type: ignore[misc]  # one stream, one union of events


def fold(folded: Folded[E, R], recorded: Iterable[RecordedEvent]) -> R | None:
    """Return the row that a stream's events make, from the first on; None without any."""
    events = list(recorded)
    return folded(events[0].stream_id, facts_of(events)) if events else None


def after(folded: Folded[E, R], handled: Handled[S, E]) -> R:
    """Return the row as a command left it, without another read."""
    facts: list[Fact[E]] = facts_of(handled.history)
    if handled.recorded_at is not None:
        facts += [(handled.recorded_at, event) for event in handled.events]
    return folded(handled.stream_id, facts)
