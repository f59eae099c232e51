"""What the rules of every kind of stream look like: a value of two pure functions.

Nothing here knows a particular stream.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from reactorcide.eventstore.domain.events import Event

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)

StreamKind: TypeAlias = Literal[
    "job", "token", "user", "worker", "redaction", "archive", "projection", "access"
]


@dataclass(frozen=True, slots=True)
class Decider(Generic[S, C, E]):
    """The rules of one kind of stream."""

    stream_type: StreamKind
    initial: S
    """The state of a stream without events."""
    decide: Callable[[S, C], tuple[E, ...]]
    """What a command adds: () when it is already so; raises CommandRejected."""
    evolve: Callable[[S, E], S]
    """The state after one more event. Raises IllegalTransition for a corrupt history only."""


def fold(decider: Decider[S, C, E], events: Iterable[E], state: S | None = None) -> S:
    """Return the state after `events`, which follow `state` (None: the stream's first)."""
    evolve = decider.evolve
    current = decider.initial if state is None else state
    for event in events:
        current = evolve(current, event)
    return current
