"""The smallest rules there can be, on a real event: a stream remembers names, each once."""

from dataclasses import dataclass
from typing import Final

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.domain.events import WorkerStopped


@dataclass(frozen=True, slots=True)
class Add:
    """Adds a named fact; adds nothing when the name is there already."""

    name: str
    is_allowed: bool = True


def decide(names: tuple[str, ...], command: Add) -> tuple[WorkerStopped, ...]:
    """Record the name once."""
    if not command.is_allowed:
        raise NotLegal("not allowed", "counting")
    return () if command.name in names else (WorkerStopped(reason=command.name),)


def evolve(names: tuple[str, ...], event: WorkerStopped) -> tuple[str, ...]:
    """Remember the name."""
    return (*names, event.reason)


NAMES: Final[Decider[tuple[str, ...], Add, WorkerStopped]] = Decider("worker", (), decide, evolve)
