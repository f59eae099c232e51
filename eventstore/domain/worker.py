"""The rules of a worker: registered, drained, stopped.

Whether it is still alive is seen in its beats, which are no events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import (
    WorkerDrained,
    WorkerEvent,
    WorkerRegistered,
    WorkerStopped,
)


class WorkerStatus(StrEnum):
    """Where a worker stands."""

    NONE = "none"
    ACTIVE = "active"
    DRAINING = "draining"
    """Takes no new work; what runs may end."""
    STOPPED = "stopped"


TRANSITIONS: Final[Mapping[WorkerStatus, Mapping[type[WorkerEvent], WorkerStatus]]] = (
    MappingProxyType(
        {
            WorkerStatus.NONE: {WorkerRegistered: WorkerStatus.ACTIVE},
            WorkerStatus.ACTIVE: {
                WorkerDrained: WorkerStatus.DRAINING,
                WorkerStopped: WorkerStatus.STOPPED,
            },
            WorkerStatus.DRAINING: {WorkerStopped: WorkerStatus.STOPPED},
            WorkerStatus.STOPPED: {},
        }
    )
)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the rules need to know of a worker."""

    status: WorkerStatus = WorkerStatus.NONE
    registered: WorkerRegistered | None = None
    """None only before the first event."""


@dataclass(frozen=True, slots=True)
class RegisterWorker:
    """A worker process started."""

    registered: WorkerRegistered


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Let the worker take no new work. Repeating it adds nothing."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """The worker ends in good order. Repeating it adds nothing."""

    reason: str


WorkerCommand: TypeAlias = RegisterWorker | DrainWorker | StopWorker


def decide(state: WorkerState, command: WorkerCommand) -> tuple[WorkerEvent, ...]:
    """Return the events that `command` adds; () when it is already so.

    Raises NotFound for a worker that is not there, NotLegal with its status.
    """
    match command:
        case RegisterWorker(registered=registered):
            if state.registered == registered:
                return ()
            if WorkerRegistered not in TRANSITIONS[state.status]:
                raise NotLegal(
                    detail="the id belongs to another worker", current_status=state.status
                )
            return (registered,)
        case DrainWorker():
            return _drain(state)
        case StopWorker(reason=reason):
            _known(state)
            is_legal = WorkerStopped in TRANSITIONS[state.status]
            return (WorkerStopped(reason=reason),) if is_legal else ()
        case _:
            assert_never(command)


def _drain(state: WorkerState) -> tuple[WorkerEvent, ...]:
    _known(state)
    if state.status is WorkerStatus.DRAINING:
        return ()
    if WorkerDrained not in TRANSITIONS[state.status]:
        raise NotLegal(
            detail=f"a worker that is {state.status} cannot drain", current_status=state.status
        )
    return (WorkerDrained(),)


def _known(state: WorkerState) -> None:
    if state.status is WorkerStatus.NONE:
        raise NotFound(kind="worker")


def evolve(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="worker", status=state.status, event_type=event.wire_type
        ) from None
    match event:
        case WorkerRegistered():
            return WorkerState(status, event)
        case WorkerDrained() | WorkerStopped():
            return replace(state, status=status)
        case _:
            assert_never(event)


WORKER: Final = Decider("worker", WorkerState(), decide, evolve)
