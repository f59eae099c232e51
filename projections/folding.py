"""Folds a stream's events into one row. Pure: no clock, no randomness, no I/O."""

from collections.abc import Callable, Iterable
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

Applied: TypeAlias = Callable[[R | None, UUID, datetime, E], R]
"""A row (None before the first event), its stream, when, and what happened; the row after it."""


def fold(applied: Applied[R, E], recorded: Iterable[RecordedEvent]) -> R | None:
    """Return the row that a stream's events make, from the first on; None without any."""
    row: R | None = None
    for one in recorded:
        event: E = decode(one)  # type: ignore[assignment]  # one stream, one union of events
        row = applied(row, one.stream_id, one.recorded_at, event)
    return row


def after(applied: Applied[R, E], handled: Handled[S, E]) -> R:
    """Return the row as a command left it, without another read."""
    row = fold(applied, handled.history)
    for event in handled.events:
        assert handled.recorded_at is not None  # noqa: S101  there are new events
        row = applied(row, handled.stream_id, handled.recorded_at, event)
    assert row is not None  # noqa: S101  a handled command leaves at least one event
    return row
