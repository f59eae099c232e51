"""The rules of an archive object: it is made once, and stays.

Which streams may go into one is not known here.
"""

from enum import StrEnum
from typing import Final, TypeAlias

from reactorcide.eventstore.domain.events import ArchiveEvent, StreamsArchived
from reactorcide.eventstore.domain.once import Made, made_once, transitions


class ArchiveStatus(StrEnum):
    """Where an object stands."""

    NONE = "none"
    ARCHIVED = "archived"


ArchiveState: TypeAlias = Made[ArchiveStatus, ArchiveEvent]

TRANSITIONS: Final = transitions(ArchiveStatus.NONE, ArchiveStatus.ARCHIVED, StreamsArchived)

ARCHIVE: Final = made_once("archive", TRANSITIONS, "the id belongs to another object")
