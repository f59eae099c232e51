"""The rules of an archive object: it is made once, and stays.

Which streams may go into one is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, assert_never

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition, NotLegal
from reactorcide.eventstore.domain.events import ArchiveEvent, StreamsArchived


class ArchiveStatus(StrEnum):
    """Where an object stands."""

    NONE = "none"
    ARCHIVED = "archived"


TRANSITIONS: Final[Mapping[ArchiveStatus, Mapping[type[ArchiveEvent], ArchiveStatus]]] = (
    MappingProxyType(
        {
            ArchiveStatus.NONE: {StreamsArchived: ArchiveStatus.ARCHIVED},
            ArchiveStatus.ARCHIVED: {},
        }
    )
)


@dataclass(frozen=True, slots=True)
class ArchiveStreams:
    """Let an object that lies in the store hold the streams from now on."""

    archived: StreamsArchived


def decide(state: ArchiveStatus, command: ArchiveStreams) -> tuple[ArchiveEvent, ...]:
    """Return the event that `command` adds. Raises NotLegal for an id that is taken."""
    if StreamsArchived not in TRANSITIONS[state]:
        raise NotLegal(detail="the id belongs to another object", current_status=state)
    return (command.archived,)


def evolve(state: ArchiveStatus, event: ArchiveEvent) -> ArchiveStatus:
    """Return the state after `event`."""
    match event:
        case StreamsArchived():
            status = TRANSITIONS[state].get(StreamsArchived)
        case _:
            assert_never(event)
    if status is None:
        raise IllegalTransition(stream_type="archive", status=state, event_type=event.wire_type)
    return status


ARCHIVE: Final = Decider("archive", ArchiveStatus.NONE, decide, evolve)
