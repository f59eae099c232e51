"""The shape of all rules: from state and command to facts, and from facts to state."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from reactorcide.eventstore.domain.events import Event

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)

StreamType: TypeAlias = Literal["job", "token", "user", "worker"]


@dataclass(frozen=True, slots=True)
class Decider(Generic[S, C, E]):
    """The rules of one kind of stream.

    `decide` returns no event for "already so" and raises CommandRejected for "not allowed".
    `evolve` never refuses what was lawfully recorded.
    """

    stream_type: StreamType
    initial: S
    decide: Callable[[S, C], tuple[E, ...]]
    evolve: Callable[[S, E], S]


def fold(decider: Decider[S, C, E], events: Iterable[E], state: S | None = None) -> S:
    """Return the state after `events`, starting at `state` or at the very beginning."""
    folded = decider.initial if state is None else state
    for event in events:
        folded = decider.evolve(folded, event)
    return folded
