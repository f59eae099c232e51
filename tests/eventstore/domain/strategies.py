"""Lawful histories for property tests: random commands, sent through the rules.

`job_histories()` and its kin draw a `History`: every command with what came of it, refused ones
included. `History.events` is a lawful stream. The rules in use can be handed in, so that a
broken variant meets the same laws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from pydantic import JsonValue

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
    JobEvent,
    JobSubmitted,
    ProjectionEvent,
    TokenEvent,
    UserEvent,
    WorkerEvent,
)
from reactorcide.eventstore.domain.job import (
    JOB,
    CancelDependent,
    CancelJob,
    Cancelled,
    ClaimJob,
    Completed,
    DeleteJob,
    ExpireLease,
    Failed,
    FinishAttempt,
    JobCommand,
    JobState,
    Outcome,
    QueueJob,
    Released,
    StartJob,
    Status,
    SubmitJob,
    TimedOut,
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
    DEPENDENCY,
    EXPORTED,
    ISSUED,
    LOG_READ,
    NOW,
    OTHER_DEPENDENCY,
    OTHER_WORKER_ID,
    OWNER,
    REBUILT,
    REFUSED,
    WORKER_ID,
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


# Jobs

_ALL: Final = (
    SubmitJob,
    QueueJob,
    ClaimJob,
    StartJob,
    FinishAttempt,
    ExpireLease,
    CancelJob,
    CancelDependent,
    DeleteJob,
)

_LIKELY: Final[dict[Status, tuple[type, ...]]] = {
    Status.NONE: (SubmitJob,),
    Status.SUBMITTED: (QueueJob,),
    Status.QUEUED: (ClaimJob,),
    Status.CLAIMED: (StartJob, StartJob, StartJob, FinishAttempt, ExpireLease),
    Status.RUNNING: (FinishAttempt, FinishAttempt, ExpireLease, CancelJob),
}

_KINDS: Final = {status: st.sampled_from(_LIKELY.get(status, ()) * 4 + _ALL) for status in Status}
"""Many of the commands lead on, so that histories grow long; the others are any."""

json_values: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("a", "b", "", "é")), inner, max_size=3)
    ),
    max_leaves=8,
)
"""What a handler may be given, or return."""

_some_json: Final = st.sampled_from((None, {}, {"a": None, "b": [None, 1]}, "text", 0))

_handlers_requests: Final = st.builds(
    JobSubmitted,
    user_id=st.just(OWNER),
    name=st.just("job"),
    handler=st.just("mail.send"),
    args=_some_json,
    max_attempts=st.integers(1, 4),
)

_commands_requests: Final = st.builds(
    JobSubmitted,
    user_id=st.just(OWNER),
    name=st.just("job"),
    job_command=st.just("true"),
    max_attempts=st.integers(1, 4),
    on_lost_lease=st.sampled_from(("requeue", "fail")),
    retry_backoff_seconds=st.sampled_from((0, 5, 86_400)),
    run_at=st.sampled_from((None, NOW, NOW + timedelta(hours=1))),
    depends_on=st.sampled_from(((), (DEPENDENCY,), (DEPENDENCY, OTHER_DEPENDENCY))),
)

requests: Final = _commands_requests | _handlers_requests

outcomes: Final[st.SearchStrategy[Outcome]] = st.one_of(
    st.just(Failed(1, "exit code 1")),
    st.just(TimedOut(143, "too long")),
    st.just(Released("worker stops")),
    st.just(Cancelled(143)),
    st.just(Failed(None, "no workspace")),
    st.just(Completed()),
    st.builds(Completed, _some_json, st.none()),
)

_workers: Final = st.sampled_from((WORKER_ID, OTHER_WORKER_ID))
_dependencies: Final = st.sampled_from((DEPENDENCY, OTHER_DEPENDENCY))
_completed: Final = st.frozensets(_dependencies)
_attempt_offsets: Final = st.sampled_from((0, 0, 0, -1, 1))
_graces: Final = st.sampled_from((10, 10, 0, 60))
_jitters: Final = st.sampled_from((0.0, -1.0, 1.0))


def job_command(  # noqa: PLR0911  one case per command
    draw: st.DrawFn, state: JobState, now: datetime
) -> JobCommand:
    """Draw a command; often one that leads on, sometimes with a stale attempt."""
    kind = draw(_KINDS[state.status])
    if kind is SubmitJob:
        return SubmitJob(draw(requests), now, waits=draw(st.booleans()))
    if kind is QueueJob:
        return QueueJob(now, draw(_completed))
    if kind is ClaimJob:
        return ClaimJob(draw(_workers), 15, now)
    if kind is CancelJob:
        return CancelJob(draw(_graces))
    if kind is CancelDependent:
        return CancelDependent(draw(_dependencies), "failed")
    if kind is DeleteJob:
        return DeleteJob()
    return _attempt_command(draw, kind, state.attempt + draw(_attempt_offsets), now)


def _attempt_command(draw: st.DrawFn, kind: type, attempt: int, now: datetime) -> JobCommand:
    if kind is StartJob:
        return StartJob(attempt)
    if kind is ExpireLease:
        started_at = draw(st.none() | st.timedeltas(timedelta(0), timedelta(hours=2)))
        at = None if started_at is None else now - started_at
        return ExpireLease(attempt, now, at, draw(_jitters))
    return FinishAttempt(attempt, draw(outcomes), now, draw(_jitters))


def job_histories(
    decider: Decider[JobState, JobCommand, JobEvent] = JOB,
) -> st.SearchStrategy[History[JobState, JobCommand, JobEvent]]:
    """Histories of one job."""
    return histories(decider, job_command)


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
