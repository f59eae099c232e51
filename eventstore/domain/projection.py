"""The rules of a projection's stream: what was done to its table is a fact, and may be again.

The stream says that the table was made anew; what is in the table is said by the other streams.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias
from uuid import UUID, uuid5

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.events import ProjectionEvent, ProjectionRebuilt

_NAMES: Final = UUID("01a5f0c4-7d0e-7c4b-9b52-6f0d9b0e3a11")


class ProjectionStatus(StrEnum):
    """Where a projection stands."""

    NONE = "none"
    """Its table is the first one."""
    REBUILT = "rebuilt"


TRANSITIONS: Final[Mapping[ProjectionStatus, Mapping[type[ProjectionEvent], ProjectionStatus]]] = (
    MappingProxyType(
        {
            ProjectionStatus.NONE: {ProjectionRebuilt: ProjectionStatus.REBUILT},
            ProjectionStatus.REBUILT: {ProjectionRebuilt: ProjectionStatus.REBUILT},
        }
    )
)


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """What is known of a projection's table."""

    status: ProjectionStatus = ProjectionStatus.NONE
    rebuilt: ProjectionRebuilt | None = None
    """The latest time; None before the first."""


@dataclass(frozen=True, slots=True)
class RecordRebuild:
    """The table is being put in its place. Said twice of the same position it adds nothing."""

    rebuilt: ProjectionRebuilt


ProjectionCommand: TypeAlias = RecordRebuild


def stream_id_of(name: str) -> UUID:
    """Return the id of the stream of the projection of this name: the same in every log."""
    return uuid5(_NAMES, name)


def decide(state: ProjectionState, command: ProjectionCommand) -> tuple[ProjectionEvent, ...]:
    """Return the events that `command` adds; () when it is already so."""
    return () if state.rebuilt == command.rebuilt else (command.rebuilt,)


def evolve(state: ProjectionState, event: ProjectionEvent) -> ProjectionState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="projection", status=state.status, event_type=event.wire_type
        ) from None
    return ProjectionState(status, event)


PROJECTION: Final = Decider("projection", ProjectionState(), decide, evolve)
