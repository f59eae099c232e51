"""Table `jobs`: each job as it stands now. All its writes and all its queries.

A row is the fold of the job's stream: the rules' state, and when things happened. It is
written inside the append's statement (`rows`), with `now()`, which is the `recorded_at` of
the same events; so a row equals what `fold` makes of the stream. Jobs of status `deleted`
are kept for those that depend on them and are invisible to every reader.

No rule lives here: what may happen is said by `reactorcide.eventstore.domain.job`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
from pydantic_core import to_json

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
    HELD,
    JOB,
    TRANSITIONS,
    JobState,
    Status,
    evolve,
)
from reactorcide.eventstore.handle import Change, Handled
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.eventstore.store import InlineRows
from reactorcide.projections import folding
from reactorcide.projections.folding import Fact
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page, listed
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

_WAITING: Final = frozenset({Status.SUBMITTED, Status.QUEUED})
_ENDING: Final = frozenset(
    kind for row in TRANSITIONS.values() for kind, status in row.items() if status in FINAL
)


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


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None and {} let all pass."""

    user_id: UUID | None = None
    status: Status | None = None
    queue_name: str | None = None
    source_type: str | None = None
    labels: Mapping[str, str] | None = None
    """All of these must be on the job."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None
    """A part of the name, whatever the case."""


# The fold


def fold(recorded: Iterable[RecordedEvent]) -> Job | None:
    """Return the job that its stream's events make, from the first on; None without any."""
    return folding.fold(folded, recorded)


def after(handled: Handled[JobState, JobEvent]) -> Job:
    """Return the job as a command left it, without another read."""
    return folding.after(folded, handled)


def folded(job_id: UUID, facts: Sequence[Fact[JobEvent]]) -> Job:
    """Return the job that all its facts make, one at least."""
    state = JOB.initial
    claimed_at = started_at = completed_at = cancel_requested_at = None
    for at, event in facts:
        state = evolve(state, event)
        match event:
            case JobClaimed():
                claimed_at, started_at = at, None
            case JobStarted():
                started_at = at
            case JobCancelRequested():
                cancel_requested_at = cancel_requested_at or at
            case _ if type(event) in _ENDING:
                completed_at = at
            case _:
                pass
    return Job(
        job_id,
        len(facts),
        state,
        facts[0][0],
        facts[-1][0],
        claimed_at,
        started_at,
        completed_at,
        cancel_requested_at,
    )


# The inline rows


def rows(changes: Sequence[Change[JobState]]) -> InlineRows:
    """Return what the append of these changes writes: rows of `jobs` and of `leases`.

    A claim opens the attempt's lease; what ends the attempt closes it. Several changes at once
    belong on a writer's connection: its plans lock the rows in the order that they are given in.
    """
    ordered = sorted(changes, key=lambda change: change.stream_id)  # as all who lock rows here
    if all(_is_just_submitted(change) for change in ordered):
        return _submitted_rows(ordered)
    new = [change for change in ordered if change.version == len(change.events)]
    old = [change for change in ordered if change.version != len(change.events)]
    return InlineRows(
        SQL["inline"],
        (
            *_columns([(*_mutable(change), *_constant(change.state)) for change in new], 22),
            *_columns([_mutable(change) for change in old], 15),
            *_columns([lease for change in ordered for lease in _opened_lease(change)], 4),
            [change.stream_id for change in old if change.state.status not in HELD],
        ),
    )


def _is_just_submitted(change: Change[JobState]) -> bool:
    state = change.state
    return change.version == len(change.events) and not state.attempt and state.status in _WAITING


def _submitted_rows(changes: Sequence[Change[JobState]]) -> InlineRows:
    """Return the same rows as above, by a fifth of its parameters: each costs microseconds."""
    written = [
        (
            change.stream_id,
            change.version,
            change.state.status,
            change.state.available_at,
            *_constant(change.state),
        )
        for change in changes
    ]
    return InlineRows(SQL["inline_submitted"], tuple(_columns(written, 11)))


def _columns(values: Sequence[tuple[Any, ...]], width: int) -> Iterable[list[Any]]:
    """Turn rows into the arrays of an unnest, all empty without rows."""
    if not values:
        return [[] for _ in range(width)]
    return map(list, zip(*values, strict=True))


def _mutable(change: Change[JobState]) -> tuple[Any, ...]:
    """Return what may change in a job's row, and which of its times are now."""
    state = change.state
    is_claimed = is_started = is_ended = is_cancel_asked = False
    for event in change.events:
        match event:
            case JobClaimed():
                is_claimed, is_started = True, False
            case JobStarted():
                is_started = True
            case JobCancelRequested():
                is_cancel_asked = True
            case _ if type(event) in _ENDING:
                is_ended = True
            case _:
                pass
    return (
        change.stream_id,
        change.version,
        *_changing(state),
        is_claimed,
        is_started,
        is_ended,
        is_cancel_asked,
    )


def _changing(state: JobState) -> tuple[Any, ...]:
    """Return status, attempt … last_error, in the order of JobState: all but `submitted`."""
    return (state[0], *state[2:])


def _constant(state: JobState) -> tuple[Any, ...]:
    """Return what never changes in a job's row: user_id … labels."""
    submitted = state.submitted
    assert submitted is not None  # noqa: S101  a job begins with job.submitted
    return (
        submitted.user_id,
        submitted.name,
        submitted.source_type,
        submitted.queue_name,
        submitted.priority,
        submitted.unique_key,
        to_json(submitted.labels).decode(),
    )


def _opened_lease(change: Change[JobState]) -> Iterable[tuple[Any, ...]]:
    state = change.state
    if state.status in HELD:
        for event in change.events:
            if isinstance(event, JobClaimed) and event.attempt == state.attempt:
                yield change.stream_id, event.attempt, event.worker_id, event.lease_seconds


COLUMNS: Final = (
    *("job_id", "version", "status", "attempt", "failures", "lost_leases", "worker_id"),
    *("available_at", "cancel_grace_seconds", "exit_code", "last_error", "created_at"),
    *("updated_at", "claimed_at", "started_at", "completed_at", "cancel_requested_at", "user_id"),
    *("name", "source_type", "queue_name", "priority", "unique_key", "labels"),
)


def values(job_id: UUID, facts: Sequence[Fact[JobEvent]]) -> tuple[Any, ...]:
    """Return the row of a job, in the order of COLUMNS."""
    _, version, state, *times = folded(job_id, facts)
    return (job_id, version, *_changing(state), *times, *_constant(state))


# The queries


def state_of(row: asyncpg.Record) -> JobState:
    """Return the rules' state that a row of the table, with the job's first event, holds."""
    first = Encoded(row["position"], row["type"], row["schema_version"], row["data"])
    submitted = decode(first)
    assert isinstance(submitted, JobSubmitted)  # noqa: S101  a job begins with job.submitted
    return JobState(
        status=Status(row["status"]),
        submitted=submitted,
        attempt=row["attempt"],
        failures=row["failures"],
        lost_leases=row["lost_leases"],
        worker_id=row["worker_id"],
        available_at=row["available_at"],
        cancel_grace_seconds=row["cancel_grace_seconds"],
        exit_code=row["exit_code"],
        last_error=row["last_error"],
    )


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


async def list_page(connection: Reader, wanted: JobFilter, page: Page) -> Listed[Job]:
    """Return a page of jobs, newest first.

    `total` is exact while the scope (one user's jobs, or all of them) holds no more than
    ROWS_COUNTED jobs, else None: it never looks at more rows than that.
    """
    labels = json.dumps(dict(wanted.labels)) if wanted.labels else None
    passing = (
        wanted.status,
        wanted.queue_name,
        wanted.source_type,
        labels,
        wanted.created_after,
        wanted.created_before,
        wanted.q,
    )
    keys = (page.before, *passing, page.limit + 1)
    if wanted.user_id is None:
        found = await connection.fetch(SQL["list_of_all"], *keys, page.offset)
        counted = await connection.fetchrow(SQL["count_of_all"], *passing, ROWS_COUNTED + 1)
    else:
        owner = wanted.user_id
        found = await connection.fetch(SQL["list_of_user"], *keys, owner, page.offset)
        counted = await connection.fetchrow(SQL["count_of_user"], *passing, ROWS_COUNTED + 1, owner)
    assert counted is not None  # noqa: S101  an aggregate always has a row
    total = counted["passing"] if counted["looked_at"] <= ROWS_COUNTED else None
    return listed([job_of(row) for row in found], [row["job_id"] for row in found], page, total)


async def claimable(
    connection: Reader, queues: Sequence[str], labels: Mapping[str, str], limit: int
) -> list[Job]:
    """Return what a worker with these labels may claim next, best priority first, then oldest.

    A suggestion: the log decides who gets it.
    """
    carried = json.dumps(dict(labels))
    found = await connection.fetch(SQL["claimable"], list(queues), carried, limit)
    return [job_of(row) for row in found]


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


async def next_due_at(connection: Reader) -> datetime | None:
    """Return when the next job's run_at or retry_at comes, if any waits for one."""
    moment: datetime | None = await connection.fetchval(SQL["next_due_at"])
    return moment


async def count_unended(connection: Reader) -> dict[str, int]:
    """Return how many jobs stand in each status that is not final; reads small indexes only."""
    found = await connection.fetch(SQL["count_unended"])
    return {row["status"]: row["jobs"] for row in found}
