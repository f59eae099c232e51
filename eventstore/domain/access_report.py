"""The rules of an access report: it says one thing, once.

What API processes saw of attempts that came to nothing, and of reads by others than the owner, is
summed up and recorded by each process on its own: a stream for each report, so that nobody waits
for anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition, NotLegal
from reactorcide.eventstore.domain.events import (
    AccessArtifactRead,
    AccessDenied,
    AccessEvent,
    AccessExported,
    AccessLogRead,
    AccessRefused,
)


class ReportStatus(StrEnum):
    """Where a report stands."""

    NONE = "none"
    RECORDED = "recorded"


TRANSITIONS: Final[Mapping[ReportStatus, Mapping[type[AccessEvent], ReportStatus]]] = (
    MappingProxyType(
        {
            ReportStatus.NONE: {
                AccessDenied: ReportStatus.RECORDED,
                AccessRefused: ReportStatus.RECORDED,
                AccessLogRead: ReportStatus.RECORDED,
                AccessArtifactRead: ReportStatus.RECORDED,
                AccessExported: ReportStatus.RECORDED,
            },
            ReportStatus.RECORDED: {},
        }
    )
)


@dataclass(frozen=True, slots=True)
class ReportState:
    """What was reported."""

    status: ReportStatus = ReportStatus.NONE
    event: AccessEvent | None = None
    """None only before it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Record what was seen. Repeating it adds nothing."""

    event: AccessEvent


ReportCommand: TypeAlias = Report


def decide(state: ReportState, command: ReportCommand) -> tuple[AccessEvent, ...]:
    """Return the event that `command` adds; () when it is already so.

    Raises NotLegal where something else was reported, ValueError for a count or times that can't
    be: those are nobody's wish but a defect.
    """
    event = command.event
    if event.count < 1 or event.last_at < event.first_at:
        msg = f"{event.count} from {event.first_at} to {event.last_at}"
        raise ValueError(msg)
    if state.event == event:
        return ()
    if type(event) not in TRANSITIONS[state.status]:
        raise NotLegal(detail="the id belongs to another report", current_status=state.status)
    return (event,)


def evolve(state: ReportState, event: AccessEvent) -> ReportState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="access", status=state.status, event_type=event.wire_type
        ) from None
    return ReportState(status, event)


ACCESS: Final = Decider("access", ReportState(), decide, evolve)
