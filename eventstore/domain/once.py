"""The rules of what is made once, and stays: one fact opens its stream and ends it.

Which kinds there are, and what else each asks of its fact, is said where they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeAlias, TypeVar

from reactorcide.eventstore.domain.decider import Decider, StreamKind
from reactorcide.eventstore.domain.errors import IllegalTransition, NotLegal
from reactorcide.eventstore.domain.events import Event

St = TypeVar("St", bound=StrEnum)
E = TypeVar("E", bound=Event)

Table: TypeAlias = Mapping[St, Mapping[type[E], St]]


@dataclass(frozen=True, slots=True)
class Made(Generic[St, E]):
    """What there is of it."""

    status: St
    event: E | None = None
    """None only before it."""


@dataclass(frozen=True, slots=True)
class Make(Generic[E]):
    """Let it be so."""

    event: E


def transitions(nothing: St, made: St, *events: type[E]) -> Table[St, E]:
    """Return the table in which each of these events leads from `nothing` to `made`."""
    first: Mapping[type[E], St] = MappingProxyType(dict.fromkeys(events, made))
    return MappingProxyType({nothing: first, made: MappingProxyType({})})


def made_once(
    stream_type: StreamKind, table: Table[St, E], taken: str
) -> Decider[Made[St, E], Make[E], E]:
    """Return the rules that the table states, whose first row is that of a stream without events.

    They raise NotLegal with the text `taken` for a stream that has its event.
    """

    def decide(state: Made[St, E], command: Make[E]) -> tuple[E, ...]:
        if type(command.event) not in table[state.status]:
            raise NotLegal(detail=taken, current_status=state.status)
        return (command.event,)

    def evolve(state: Made[St, E], event: E) -> Made[St, E]:
        status = table[state.status].get(type(event))
        if status is None:
            raise IllegalTransition(
                stream_type=stream_type, status=state.status, event_type=event.wire_type
            )
        return Made(status, event)

    return Decider(stream_type, Made(next(iter(table))), decide, evolve)
