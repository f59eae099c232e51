"""Table `jobs`: each job as it stands now, and what asks for single jobs.

A row is the fold of the job's stream: the rules' state, and when things happened. It is
written inside the append's statement (see `job_rows`), with `now()`, which is the `recorded_at`
of the same events; so a row equals what `fold` makes of the stream. Jobs of status `deleted`
are kept for those that depend on them and are invisible to every reader. Pages of them are read
by `job_lists`, what may be claimed next by `job_suggestions`, what falls due by `due_jobs`.

No rule lives here: what may happen is said by `reactorcide.eventstore.domain.job`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
from pydantic_core import from_json, to_json

from reactorcide.eventstore.codec import Encoded, decode
from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import (
    JobCancelRequested,
    JobClaimed,
    JobEvent,
    JobStarted,
    JobSubmitted,
)
from reactorcide.eventstore.domain.job import (
    FINAL,
    JOB,
    TRANSITIONS,
    JobState,
    Status,
    evolve,
)
from reactorcide.eventstore.handle import Handled
from reactorcide.eventstore.record import RecordedEvent, new
from reactorcide.projections import folding
from reactorcide.projections.folding import Fact
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

ENDING: Final = frozenset(
    kind for row in TRANSITIONS.values() for kind, status in row.items() if status in FINAL
)

_ENDS: Final = {
    kind.wire_type: status
    for row in TRANSITIONS.values()
    for kind, status in row.items()
    if status in FINAL
}


class Job(NamedTuple):
    """A job as it stands after event `version` of its stream.

    A named tuple, because a rebuild makes one for every event.
    """

    job_id: UUID
    version: int
    state: JobState
    created_at: datetime
    updated_at: datetime
    claimed_at: datetime | None = None
    """When the latest attempt was claimed."""
    started_at: datetime | None = None
    """When the latest attempt's command began; None when it has not."""
    completed_at: datetime | None = None
    """When the job ended, however it did."""
    cancel_requested_at: datetime | None = None
    """When it was first asked to stop while it ran."""

    @property
    def submitted(self) -> JobSubmitted:
        """What was asked for."""
        submitted = self.state.submitted
        assert submitted is not None  # noqa: S101  a job begins with job.submitted
        return submitted


# The fold


def fold(recorded: Iterable[RecordedEvent]) -> Job | None:
    """Return the job that its stream's events make, from the first on; None without any."""
    return folding.fold(folded, recorded)


def after(handled: Handled[JobState, JobEvent]) -> Job:
    """Return the job as a command left it, without another read."""
    return folding.after(folded, handled)


def folded(job_id: UUID, facts: Sequence[Fact[JobEvent]]) -> Job:
    """Return the job that all its facts make, one at least."""
    times, events = zip(*facts, strict=True)
    return _job(job_id, times, events[0], course(events))


class Course(NamedTuple):
    """What a job's events make, whenever they came: a job's state, and which events say its times.

    Most jobs go one of a few ways, so a rebuild folds each way once. See `on_course`.
    """

    state: JobState
    claimed: int | None
    """The event, counted from 0, that says `claimed_at`; and so on."""
    started: int | None
    completed: int | None
    cancel_requested: int | None


def on_course(first: JobEvent) -> bool | None:
    """Return what all that a job becomes follows from beside its later events: whether it waited.

    None of one with a `run_at`, which its state holds.
    """
    return first.waits if type(first) is JobSubmitted and first.run_at is None else None


def course(events: Sequence[JobEvent]) -> Course:
    """Fold all events of a job, one at least. Raises IllegalTransition."""
    state = JOB.initial
    claimed = started = completed = cancel_requested = None
    for number, event in enumerate(events):
        state = evolve(state, event)
        kind = type(event)  # to match on the class takes longer, and this runs for every event
        if kind in ENDING:
            completed = number
        elif kind is JobClaimed:
            claimed, started = number, None
        elif kind is JobStarted:
            started = number
        elif kind is JobCancelRequested and cancel_requested is None:
            cancel_requested = number
    return Course(state, claimed, started, completed, cancel_requested)


def _job(job_id: UUID, times: Sequence[datetime], first: JobEvent, course: Course) -> Job:
    state, *marks = course
    assert type(first) is JobSubmitted  # noqa: S101  a job begins with job.submitted
    state = new(JobState, (state[0], first, *state[2:]))
    claimed, started, completed, asked = marks
    return new(
        Job,
        (
            *(job_id, len(times), state, times[0], times[-1]),
            None if claimed is None else times[claimed],
            None if started is None else times[started],
            None if completed is None else times[completed],
            None if asked is None else times[asked],
        ),
    )


def changing(state: JobState) -> tuple[Any, ...]:
    """Return status, attempt … result, in the order of JobState: all but `submitted`."""
    return (state[0], *state[2:])


def constant(state: JobState) -> tuple[Any, ...]:
    """Return what never changes in a job's row: user_id … labels."""
    submitted = state.submitted
    assert submitted is not None  # noqa: S101  a job begins with job.submitted
    return asked_for(submitted)


def asked_for(submitted: JobSubmitted) -> tuple[Any, ...]:
    """Return the same from the request."""
    labels = submitted.labels
    return (
        submitted.user_id,
        submitted.name,
        submitted.source_type,
        submitted.queue_name,
        submitted.priority,
        submitted.unique_key,
        to_json(labels).decode() if labels else "{}",
    )


COLUMNS: Final = (
    *("job_id", "version", "status", "attempt", "failures", "lost_leases", "worker_id"),
    *("available_at", "cancel_grace_seconds", "exit_code", "last_error", "result", "created_at"),
    *("updated_at", "claimed_at", "started_at", "completed_at", "cancel_requested_at", "user_id"),
    *("name", "source_type", "queue_name", "priority", "unique_key", "labels"),
)


def values(job_id: UUID, facts: Sequence[Fact[JobEvent]]) -> tuple[Any, ...]:
    """Return the row of a job, in the order of COLUMNS."""
    return _row(folded(job_id, facts))


def values_by_course(
    job_id: UUID, times: Sequence[datetime], first: JobEvent, course: Course
) -> tuple[Any, ...]:
    """Return the same row from the times of its events, the first of them, and their course."""
    return _row(_job(job_id, times, first, course))


def _row(job: Job) -> tuple[Any, ...]:
    job_id, version, state, *times = job
    return (job_id, version, *changing(state), *times, *constant(state))


# The queries


def state_of(row: asyncpg.Record) -> JobState:
    """Return the rules' state that a row of the table, with the job's first event, holds."""
    first = Encoded(row["position"], row["type"], row["schema_version"], row["data"])
    return JobState(
        status=Status(row["status"]),
        submitted=decoded(first),
        attempt=row["attempt"],
        failures=row["failures"],
        lost_leases=row["lost_leases"],
        worker_id=row["worker_id"],
        available_at=row["available_at"],
        cancel_grace_seconds=row["cancel_grace_seconds"],
        exit_code=row["exit_code"],
        last_error=row["last_error"],
        result=_as_folded(row["result"]),
    )


def _as_folded(result: str | None) -> str | None:
    """Return a result as the fold has it: the column puts spaces between its values."""
    return None if result is None else to_json(from_json(result)).decode()


def job_of(row: asyncpg.Record) -> Job:
    """Return the job that a row of the table holds."""
    return Job(
        row["job_id"],
        row["version"],
        state_of(row),
        row["created_at"],
        row["updated_at"],
        row["claimed_at"],
        row["started_at"],
        row["completed_at"],
        row["cancel_requested_at"],
    )


async def get(connection: Reader, job_id: UUID) -> Job | None:
    """Return a job; None when it is unknown or deleted."""
    row = await connection.fetchrow(SQL["get"], job_id)
    return None if row is None else job_of(row)


async def get_many(connection: Reader, job_ids: Iterable[UUID]) -> dict[UUID, Job]:
    """Return jobs by id; an unknown or deleted one has no key."""
    found = await connection.fetch(SQL["get_many"], list(job_ids))
    return {row["job_id"]: job_of(row) for row in found}


def decoded(first: Encoded) -> JobSubmitted:
    """Return the request that a job's first event holds."""
    submitted = decode(first)
    assert isinstance(submitted, JobSubmitted)  # noqa: S101  a job begins with job.submitted
    return submitted


async def active_with_key(
    connection: Reader, user_id: UUID, queue_name: str, unique_key: str
) -> Job | None:
    """Return the job of this owner, queue and key that has not ended, if there is one."""
    row = await connection.fetchrow(SQL["active_with_key"], user_id, queue_name, unique_key)
    return None if row is None else job_of(row)


def ended_as(recorded: Iterable[RecordedEvent]) -> Status | None:
    """Return the status that a job ended in, also when it was deleted then; None before its end."""
    ends = [_ENDS[one.type] for one in recorded if one.type in _ENDS]
    return ends[-1] if ends else None
