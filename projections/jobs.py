"""Table `jobs`: each job as it stands now, and what asks for single jobs.

A row is the fold of the job's stream: the rules' state, and when things happened. It is
written inside the append's statement (see `job_rows`), with `now()`, which is the `recorded_at`
of the same events; so a row equals what `fold` makes of the stream. Jobs of status `deleted`
are kept for those that depend on them and are invisible to every reader. Pages of them are read
by `job_lists`.

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
from reactorcide.eventstore.lane import Lane
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
        submitted=_decoded(first),
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


class Share(NamedTuple):
    """Which of the claimable jobs a worker looks at while others claim from the same queues.

    Those whose id hashes to `rank` of `of`, by a hash that `salt` chooses; all when `of` is 1.
    """

    of: int = 1
    rank: int = 0
    salt: int = 0


ALL: Final = Share()


async def claimable(  # noqa: PLR0913, PLR0917  where to look, for whom, and how far
    connection: "Reader | Lane",
    queues: Sequence[str],
    labels: str,
    limit: int,
    share: Share = ALL,
    after: tuple[int, UUID] | None = None,
) -> list[Job]:
    """Return what a worker with these labels may claim next, best priority first, then oldest.

    A suggestion: the log decides who gets it. `labels` is a JSON object. `after`, the priority
    and id of a job, goes on from there: it leaves out what was seen, what has come ahead of it
    since, and what waited for a retry.
    """
    keys = (queues, labels, limit, *share)
    if after is None:
        found = await connection.fetch(SQL["claimable"], *keys)
    else:
        found = await connection.fetch(SQL["claimable_after"], *keys, *after)
    return [_queued(*row) for row in found]


class Aged(NamedTuple):
    """What has waited long: the ids before one, the retries due before a time, below a priority."""

    before_id: UUID
    below: int
    before: datetime


async def claimable_aged(  # noqa: PLR0913, PLR0917  as `claimable`
    connection: Reader,
    queues: Sequence[str],
    labels: str,
    limit: int,
    aged: Aged,
    share: Share = ALL,
) -> list[Job]:
    """Return what a worker may claim next of jobs that have waited long, the oldest first."""
    found = await connection.fetch(SQL["claimable_aged"], queues, labels, limit, *aged, *share)
    return [_queued(*row) for row in found]


def _queued(  # noqa: PLR0913, PLR0917  the columns of a row, by position: by name takes longer
    job_id: UUID,
    version: int,
    attempt: int,
    failures: int,
    lost_leases: int,
    available_at: datetime | None,
    exit_code: int | None,
    last_error: str | None,
    created_at: datetime,
    updated_at: datetime,
    position: int,
    schema_version: int,
    data: str,
    args: str | None,
) -> Job:
    """Return the job that a row of `claimable` holds."""
    submitted = _requested(Encoded(position, JobSubmitted.wire_type, schema_version, data), args)
    attempts = attempt, failures, lost_leases
    state = new(
        JobState,
        (
            *(Status.QUEUED, submitted, *attempts),
            *(None, available_at, None, exit_code, last_error, None),
        ),
    )
    return new(Job, (job_id, version, state, created_at, updated_at, None, None, None, None))


class First(NamedTuple):
    """What a claim without a look found: the job, its version by then, and what was asked for."""

    job_id: UUID
    version: int
    submitted: JobSubmitted
    recorded_at: datetime
    chosen: int
    """How many were first in the queue, claimed or not; one more when a retry is due."""


def first_of(row: asyncpg.Record) -> First:
    """Return what a row of `job_rows.FIRST` holds."""
    job_id, version, position, schema_version, data, args, recorded_at, chosen = row
    first = Encoded(position, JobSubmitted.wire_type, schema_version, data)
    return First(job_id, version, _requested(first, args), recorded_at, chosen)


def _requested(first: Encoded, args: str | None) -> JobSubmitted:
    """Return a request of which the args were read apart: decoded once for all that are alike."""
    if first.schema_version != JobSubmitted.schema_version:  # an upcaster sees it whole
        whole = from_json(first.data) | ({} if args is None else {"args": from_json(args)})
        return _decoded(first._replace(data=to_json(whole).decode()))
    submitted = _known_requests.get(first.data)
    if submitted is None:
        submitted = _decoded(first)
        if len(first.data) <= _KEPT_CHARACTERS:
            if len(_known_requests) >= _KEPT:
                _known_requests.clear()
            _known_requests[first.data] = submitted
    return submitted if args is None else submitted.with_args(from_json(args))


_known_requests: Final[dict[str, JobSubmitted]] = {}
_KEPT: Final = 500
_KEPT_CHARACTERS: Final = 2000


def _decoded(first: Encoded) -> JobSubmitted:
    submitted = decode(first)
    assert isinstance(submitted, JobSubmitted)  # noqa: S101  a job begins with job.submitted
    return submitted


async def due(connection: Reader, limit: int) -> list[Job]:
    """Return waiting jobs that nothing holds back any more."""
    return [job_of(row) for row in await connection.fetch(SQL["due"], limit)]


async def blocked(connection: Reader, limit: int) -> list[tuple[Job, UUID, str]]:
    """Return waiting jobs that wait in vain: with a dependency, and the status it ended in."""
    found = await connection.fetch(SQL["blocked"], limit)
    return [(job_of(row), row["dependency"], row["dependency_status"]) for row in found]


async def held_without_lease(connection: Reader, limit: int) -> list[Job]:
    """Return claimed and running jobs whose lease is over, by the database's clock."""
    return [job_of(row) for row in await connection.fetch(SQL["held_without_lease"], limit)]


async def active_with_key(
    connection: Reader, user_id: UUID, queue_name: str, unique_key: str
) -> Job | None:
    """Return the job of this owner, queue and key that has not ended, if there is one."""
    row = await connection.fetchrow(SQL["active_with_key"], user_id, queue_name, unique_key)
    return None if row is None else job_of(row)


class Due(NamedTuple):
    """When the next job's run_at or retry_at comes, if any waits for one; by the database's clock.

    Not in the future: it came after the time that was asked for.
    """

    at: datetime | None
    asked_at: datetime
    has_waiting: bool
    """There are jobs that are submitted and not queued, whatever they wait for."""

    @property
    def in_seconds(self) -> float | None:
        """How long that was from the question on; negative when it had come by then."""
        return None if self.at is None else (self.at - self.asked_at).total_seconds()


async def next_due(connection: Reader, since: datetime | None = None) -> Due:
    """Return what falls due next after `since`, by default after now.

    Who looks for jobs and then asks this gives the `asked_at` of the time before: what falls due
    between the look and the question is in neither otherwise.
    """
    row = await connection.fetchrow(SQL["next_due"], since)
    assert row is not None  # noqa: S101  it selects from nothing
    return Due(*row)


def ended_as(recorded: Iterable[RecordedEvent]) -> Status | None:
    """Return the status that a job ended in, also when it was deleted then; None before its end."""
    ends = [_ENDS[one.type] for one in recorded if one.type in _ENDS]
    return ends[-1] if ends else None
