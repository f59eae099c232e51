"""The rules of an access report: it says one thing, once.

What API processes saw of attempts that came to nothing, and of reads by others than the owner, is
summed up and recorded by each process on its own: a stream for each report, so that nobody waits
for anybody.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import (
    AccessArtifactRead,
    AccessDenied,
    AccessEvent,
    AccessExported,
    AccessLogRead,
    AccessRefused,
)
from reactorcide.eventstore.domain.once import Made, Make, Table, made_once, transitions


class ReportStatus(StrEnum):
    """Where a report stands."""

    NONE = "none"
    RECORDED = "recorded"


ReportState: TypeAlias = Made[ReportStatus, AccessEvent]
TRANSITIONS: Final[Table[ReportStatus, AccessEvent]] = transitions(
    ReportStatus.NONE,
    ReportStatus.RECORDED,
    AccessDenied,
    AccessRefused,
    AccessLogRead,
    AccessArtifactRead,
    AccessExported,
)


@dataclass(frozen=True, slots=True)
class Report(Make[AccessEvent]):
    """Record what was seen. Repeating it adds nothing."""


ReportCommand: TypeAlias = Report

_ONCE: Final = made_once("access", TRANSITIONS, "the id belongs to another report")


def decide(state: ReportState, command: ReportCommand) -> tuple[AccessEvent, ...]:
    """Return the event that `command` adds; () when it is already so.

    Raises NotLegal where something else was reported, ValueError for a count or times that can't
    be: those are nobody's wish but a defect.
    """
    event = command.event
    if event.count < 1 or event.last_at < event.first_at:
        msg = f"{event.count} from {event.first_at} to {event.last_at}"
        raise ValueError(msg)
    return () if state.event == event else _ONCE.decide(state, command)


ACCESS: Final = Decider("access", _ONCE.initial, decide, _ONCE.evolve)
