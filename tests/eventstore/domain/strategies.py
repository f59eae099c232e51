"""Lawful histories for property tests: random commands, sent through the rules.

`token_histories()` and its kin draw a `History`: every command with what came of it, refused ones
included. `History.events` is a lawful stream. Those of jobs are in `job_strategies`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from reactorcide.eventstore.domain.access import ROLES
from reactorcide.eventstore.domain.access_report import (
    ACCESS,
    Report,
    ReportCommand,
    ReportState,
)
from reactorcide.eventstore.domain.decider import Decider, fold
from reactorcide.eventstore.domain.errors import CommandRejected, IllegalTransition
from reactorcide.eventstore.domain.events import (
    AccessEvent,
    Event,
    ProjectionEvent,
    TokenEvent,
    UserEvent,
    WorkerEvent,
)
from reactorcide.eventstore.domain.job import (
    SubmitJob,
)
from reactorcide.eventstore.domain.projection import (
    PROJECTION,
    ProjectionCommand,
    ProjectionState,
    RecordRebuild,
)
from reactorcide.eventstore.domain.token import (
    TOKEN,
    IssueToken,
    RevokeToken,
    RotateToken,
    TokenCommand,
    TokenState,
)
from reactorcide.eventstore.domain.user import (
    USER,
    ChangeRoles,
    DeactivateUser,
    RegisterUser,
    UserCommand,
    UserState,
)
from reactorcide.eventstore.domain.worker import (
    WORKER,
    DrainWorker,
    RegisterWorker,
    StopWorker,
    WorkerCommand,
    WorkerState,
)
from reactorcide.tests.eventstore.domain.samples import (
    ARTIFACT_READ,
    DENIED,
    EXPORTED,
    ISSUED,
    LOG_READ,
    NOW,
    REBUILT,
    REFUSED,
    WORKER_REGISTERED,
)

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)

LONGEST: Final = 24
"""Commands in a history, refused ones included."""


def brief(command: object) -> str:
    """Return the command as text, without what a request says by default."""
    if isinstance(command, SubmitJob):
        return f"SubmitJob({command.submitted.model_dump(exclude_defaults=True)})"
    return repr(command)


@dataclass(frozen=True)
class Step(Generic[S, C, E]):
    """One command and what came of it."""

    before: S
    command: C
    events: tuple[E, ...]
    refusal: CommandRejected | None
    after: S

    def __repr__(self) -> str:
        came_of_it = [event.wire_type for event in self.events] if self.events else self.refusal
        return f"{brief(self.command)} -> {came_of_it!r}"


class History(Generic[S, C, E]):
    """A stream's life from its beginning.

    No dataclass: Hypothesis would print one field by field, every state in full.
    """

    def __init__(self, decider: Decider[S, C, E], steps: tuple[Step[S, C, E], ...]) -> None:
        self.decider = decider
        self.steps = steps

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.steps))

    @property
    def events(self) -> tuple[E, ...]:
        """All that was recorded."""
        return tuple(event for step in self.steps for event in step.events)

    @property
    def state(self) -> S:
        """How it stands in the end."""
        return self.steps[-1].after if self.steps else self.decider.initial


def take(decider: Decider[S, C, E], before: S, command: C) -> Step[S, C, E]:
    """Send one command through the rules. An event that cannot be folded leaves the state."""
    try:
        events = decider.decide(before, command)
    except CommandRejected as refusal:
        return Step(before, command, (), refusal, before)
    try:
        return Step(before, command, events, None, fold(decider, events, before))
    except IllegalTransition:
        return Step(before, command, events, None, before)


@st.composite
def histories(
    draw: st.DrawFn,
    decider: Decider[S, C, E],
    command_for: Callable[[st.DrawFn, S, datetime], C],
) -> History[S, C, E]:
    """Draw up to LONGEST commands, each for the state that the ones before it left."""
    steps: list[Step[S, C, E]] = []
    state, now = decider.initial, NOW
    for _ in range(draw(st.integers(1, LONGEST))):
        now += timedelta(seconds=draw(_PAUSES))
        step = take(decider, state, command_for(draw, state, now))
        steps.append(step)
        state = step.after
    return History(decider, tuple(steps))


_PAUSES: Final = st.sampled_from((0, 1, 10, 3_600, 3 * 86_400))

# Tokens, users, workers, access reports

_token_commands: Final[st.SearchStrategy[TokenCommand]] = st.one_of(
    st.builds(
        IssueToken,
        st.sampled_from((ISSUED, ISSUED.model_copy(update={"expires_at": None}))),
    ),
    st.builds(
        RotateToken,
        st.sampled_from((UUID(int=9), UUID(int=10))),
        st.sampled_from((NOW, NOW + timedelta(days=1))),
    ),
    st.just(RevokeToken()),
)

_some_roles: Final = st.sampled_from((ROLES, ROLES[::-1], ROLES[:1], ROLES[2:]))

_user_commands: Final[st.SearchStrategy[UserCommand]] = st.one_of(
    st.builds(RegisterUser, st.sampled_from(("ada", "bob")), st.none(), _some_roles),
    st.builds(ChangeRoles, _some_roles),
    st.just(DeactivateUser()),
)

_worker_commands: Final[st.SearchStrategy[WorkerCommand]] = st.one_of(
    st.builds(
        RegisterWorker,
        st.sampled_from((WORKER_REGISTERED, WORKER_REGISTERED.model_copy(update={"pid": 8}))),
    ),
    st.just(DrainWorker()),
    st.builds(StopWorker, st.sampled_from(("SIGTERM", "SIGINT"))),
)

_projection_commands: Final[st.SearchStrategy[ProjectionCommand]] = st.builds(
    RecordRebuild,
    st.builds(
        lambda position, differed: REBUILT.model_copy(
            update={"position": position, "differed": differed}
        ),
        st.integers(0, 3),
        st.booleans(),
    ),
)


def projection_histories() -> st.SearchStrategy[
    History[ProjectionState, ProjectionCommand, ProjectionEvent]
]:
    """Histories of one projection's table."""
    return histories(PROJECTION, lambda draw, _state, _now: draw(_projection_commands))


_reports: Final[st.SearchStrategy[ReportCommand]] = st.builds(
    Report, st.sampled_from((DENIED, REFUSED, LOG_READ, ARTIFACT_READ, EXPORTED))
)


def token_histories() -> st.SearchStrategy[History[TokenState, TokenCommand, TokenEvent]]:
    """Histories of one token."""
    return histories(TOKEN, lambda draw, _state, _now: draw(_token_commands))


def user_histories() -> st.SearchStrategy[History[UserState, UserCommand, UserEvent]]:
    """Histories of one user."""
    return histories(USER, lambda draw, _state, _now: draw(_user_commands))


def worker_histories() -> st.SearchStrategy[History[WorkerState, WorkerCommand, WorkerEvent]]:
    """Histories of one worker."""
    return histories(WORKER, lambda draw, _state, _now: draw(_worker_commands))


def access_histories() -> st.SearchStrategy[History[ReportState, ReportCommand, AccessEvent]]:
    """Histories of one access report."""
    return histories(ACCESS, lambda draw, _state, _now: draw(_reports))
