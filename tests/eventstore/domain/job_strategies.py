"""Lawful histories of jobs for property tests: random commands, sent through the rules.

See `strategies`. The rules in use can be handed in, so that a broken variant meets the same laws.
"""

from datetime import datetime, timedelta
from typing import Final

from hypothesis import strategies as st
from pydantic import JsonValue

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import (
    JobEvent,
    JobSubmitted,
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
from reactorcide.tests.eventstore.domain.samples import (
    DEPENDENCY,
    NOW,
    OTHER_DEPENDENCY,
    OTHER_WORKER_ID,
    OWNER,
    WORKER_ID,
)
from reactorcide.tests.eventstore.domain.strategies import History, histories

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
