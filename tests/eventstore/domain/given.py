"""Tell a rule as a story: given these events, when this command, then these events."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from reactorcide.eventstore.domain.decider import Decider, fold
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import Event

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)
R = TypeVar("R", bound=CommandRejected)


@dataclass(frozen=True)
class When(Generic[S, E]):
    """What came of the command."""

    state: S
    """After its events."""
    events: tuple[E, ...]
    rejection: CommandRejected | None

    def then(self, *expected: E) -> S:
        """Claim that the command added exactly these events; return the state after them."""
        if self.rejection is not None:
            raise self.rejection
        assert self.events == expected
        return self.state

    def refused(self, kind: type[R]) -> R:
        """Claim that the command was refused with exactly `kind`; return the rejection."""
        assert type(self.rejection) is kind, f"decided {self.events}, raised {self.rejection!r}"
        return self.rejection


@dataclass(frozen=True)
class Given(Generic[S, C, E]):
    """A stream with a history."""

    decider: Decider[S, C, E]
    state: S

    def when(self, command: C) -> When[S, E]:
        """Give the command to the rules."""
        try:
            events = self.decider.decide(self.state, command)
        except CommandRejected as rejection:
            return When(self.state, (), rejection)
        return When(fold(self.decider, events, self.state), events, None)


@dataclass(frozen=True)
class Story(Generic[S, C, E]):
    """`given = Story(JOB).given`, and then `given(*events).when(command).then(*events)`."""

    decider: Decider[S, C, E]

    def given(self, *events: E) -> Given[S, C, E]:
        """Begin with a history."""
        return Given(self.decider, fold(self.decider, events))
