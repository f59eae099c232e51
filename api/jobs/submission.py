"""New jobs into the log: their dependencies looked at, their unique keys respected.

Everything of one call goes in together, in one statement. Answers nothing and rings nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final
from uuid import UUID

from reactorcide.api.errors import Flaw, invalid_input
from reactorcide.eventstore.appender import Unit
from reactorcide.eventstore.codec import written
from reactorcide.eventstore.database import Connection, Reader
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JOB, JobState, Status, SubmitJob
from reactorcide.eventstore.handle import AppendDoor, Change, ConflictPersists
from reactorcide.eventstore.ids import new_ids
from reactorcide.eventstore.record import (
    Append,
    Appended,
    AppendResult,
    AppendToNew,
    Context,
    NewEvent,
    Row,
    new,
)
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job

# Taken in the order of the numbers, so that two batches never wait for each other in a ring.
# A number is a hash: two keys that share one only wait needlessly.
_LOCK_KEYS: Final = """
SELECT pg_advisory_xact_lock(number) FROM (
    SELECT DISTINCT hashtextextended($1::uuid::text || queue_name || ' ' || unique_key, 6081)
        AS number
    FROM unnest($2::text[], $3::text[]) AS k (queue_name, unique_key)
    ORDER BY number
) AS numbers"""


@dataclass(frozen=True, slots=True)
class Submission:
    """A request, and where it stands in the body (for pointers)."""

    submitted: JobSubmitted
    pointer: str = ""


async def submit(
    read: Reader, door: AppendDoor[JobState], submissions: Sequence[Submission], context: Context
) -> list[Job]:
    """Record new jobs, all or none; the answers are in their order.

    Raises Problem for a dependency that is no job of the owner.
    """
    if any(one.submitted.depends_on for one in submissions):
        waiting = await _waiting(read, submissions)
    else:
        waiting = [False] * len(submissions)
    units = new_units([one.submitted for one in submissions], waiting, context)
    results = await door.append(units)
    return [_job_of(change, result) for (_, change), result in zip(units, results, strict=True)]


async def submit_unless_active(
    connection: Connection,
    door: AppendDoor[JobState],
    submissions: Sequence[Submission],
    context: Context,
) -> tuple[list[Job], frozenset[UUID]]:
    """Record those whose unique key no other active job has; in the caller's transaction.

    Returns one job per submission, found or new, and the ids of the new ones. Of two with the
    same key the second gets the first's job.
    """
    found = await _active(connection, submissions)
    firsts: dict[tuple[str, str], Submission] = {}
    fresh: list[Submission] = []
    for submission in submissions:
        key = _key_of(submission.submitted)
        if key is None:
            fresh.append(submission)
        elif key not in found and key not in firsts:
            firsts[key] = submission
            fresh.append(submission)
    made = await submit(connection, door, fresh, context) if fresh else []
    unclaimed = iter(made)
    answers: list[Job] = []
    for submission in submissions:
        key = _key_of(submission.submitted)
        if key is None:
            answers.append(next(unclaimed))
            continue
        if key not in found:
            found[key] = next(unclaimed)
        answers.append(found[key])
    return answers, frozenset(job.job_id for job in made)


async def _active(
    connection: Connection, submissions: Sequence[Submission]
) -> dict[tuple[str, str], Job]:
    """Lock the unique keys, then return the jobs that have them."""
    keys = {key for one in submissions if (key := _key_of(one.submitted)) is not None}
    if not keys:
        return {}
    owner = submissions[0].submitted.user_id
    queues, names = [queue for queue, _ in keys], [name for _, name in keys]
    await connection.execute(_LOCK_KEYS, owner, queues, names)
    found: dict[tuple[str, str], Job] = {}
    for queue, name in keys:
        job = await jobs.active_with_key(connection, owner, queue, name)
        if job is not None:
            found[queue, name] = job
    return found


def _key_of(submitted: JobSubmitted) -> tuple[str, str] | None:
    if submitted.unique_key is None:
        return None
    return submitted.queue_name, submitted.unique_key


async def _waiting(read: Reader, submissions: Sequence[Submission]) -> list[bool]:
    """Return for each whether it depends on a job that has not completed."""
    wanted = {job_id for one in submissions for job_id in one.submitted.depends_on}
    found = await jobs.get_many(read, wanted)
    flaws = [
        Flaw(f"{one.pointer}/depends_on/{nth}", "unknown", "Must be the id of an own job")
        for one in submissions
        for nth, job_id in enumerate(one.submitted.depends_on)
        if job_id not in found or found[job_id].submitted.user_id != one.submitted.user_id
    ]
    if flaws:
        raise invalid_input(*flaws)
    return [
        any(
            found[job_id].state.status is not Status.COMPLETED
            for job_id in one.submitted.depends_on
        )
        for one in submissions
    ]


def new_units(
    asked: Sequence[JobSubmitted], waiting: Iterable[bool], context: Context
) -> list[Unit[JobState]]:
    """Return what makes these jobs: their ids ascend in the order given."""
    now = datetime.now(UTC)
    ids = iter(new_ids(2 * len(asked)))
    kind, schema_version = JobSubmitted.wire_type, JobSubmitted.schema_version
    units: list[Unit[JobState]] = []
    for submitted, waits in zip(asked, waiting, strict=True):
        if waits or submitted.run_at is not None:
            event, state = _begun(submitted, now, waits=waits)
        else:
            event, usual = submitted, _usually_begun()
            state = new(JobState, (usual[0], submitted, *usual[2:]))
        job_id = next(ids)
        first = new(NewEvent, (next(ids), kind, schema_version, written(event)[2]))
        append = new(Append, (JOB.stream_type, job_id, 0, (first,), context))
        units.append((append, new(Change, (job_id, 1, state, (event,)))))
    return units


def new_alike(texts: list[str], rows: list[Row], context: Context) -> AppendToNew:
    """Return what makes jobs that nothing holds back: of each its fact as JSON, and its row.

    Their ids ascend in the order given. The rows are those that `job_rows` makes of `new_units`.
    """
    kind, schema_version = JobSubmitted.wire_type, JobSubmitted.schema_version
    job_ids = new_ids(len(texts))
    contexts = [context] * len(texts)
    return AppendToNew(JOB.stream_type, kind, schema_version, contexts, job_ids, texts, rows)


def _begun(submitted: JobSubmitted, now: datetime, *, waits: bool) -> tuple[JobSubmitted, JobState]:
    """Return a new job's event, and its state after it."""
    (event,) = JOB.decide(JOB.initial, SubmitJob(submitted, now, waits))
    assert isinstance(event, JobSubmitted)  # noqa: S101  the rules begin a job with nothing else
    return event, JOB.evolve(JOB.initial, event)


@cache
def _usually_begun() -> JobState:
    """Return the state of some job that nothing holds back.

    The rules are asked once for all of these: they look at nothing else of a new job.
    """
    some = JobSubmitted(user_id=UUID(int=0), name="some")
    return _begun(some, datetime.now(UTC), waits=False)[1]


def _job_of(change: Change[JobState], result: AppendResult) -> Job:
    """Return a job that has just been made: all its events have one time."""
    if not isinstance(result, Appended):
        raise ConflictPersists(change.stream_id, 1)
    at = result.recorded_at
    return Job(change.stream_id, change.version, change.state, at, at)
