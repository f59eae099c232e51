"""What guards the appends of workers: rows of jobs, and what becomes of one that is not right."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from reactorcide.eventstore.alike import Alike, Repeats, decided_alike
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import (
    JOB,
    CancelJob,
    ClaimJob,
    Completed,
    FinishAttempt,
    JobCommand,
    JobState,
    StartJob,
    alike,
    likewise,
)
from reactorcide.eventstore.handle import Change, decided
from reactorcide.eventstore.ids import numbered
from reactorcide.eventstore.inline_rows import GuardedRows
from reactorcide.eventstore.record import (
    SYSTEM,
    Append,
    Appended,
    AppendedToMany,
    Conflict,
)
from reactorcide.eventstore.store import (
    append,
    append_to_many,
    read_stream,
)
from reactorcide.projections import job_rows, jobs
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import an_append
from reactorcide.tests.eventstore.waiting import until_blocked
from reactorcide.tests.projections.journal import WORKER, Journal, now, row_of
from reactorcide.tests.projections.written_units import append_units, is_as_the_log_has_it

_CLAIM: Final = ClaimJob(WORKER, 15, now() + timedelta(hours=1))
_COMPLETE: Final = FinishAttempt(1, Completed(), now(), 0)
_FREQUENT: Final = (_CLAIM, StartJob(1), _COMPLETE)
_CLAIM_STARTED: Final = replace(_CLAIM, starts=True)


async def _decided(
    connection: Connection, command: JobCommand, *job_ids: UUID
) -> list[tuple[Append, Change[JobState]]]:
    """Decide a command for jobs as they stand."""
    units = []
    for job_id in job_ids:
        job = await jobs.get(connection, job_id)
        assert job is not None
        unit = decided(JOB, job.state, job.version, job_id, command, SYSTEM)
        assert unit is not None
        units.append(unit)
    return units


async def _versions(connection: Connection, job_id: UUID) -> list[int]:
    return [event.version for event in await read_stream(connection, job_id)]


async def test_what_workers_write_most_is_guarded(
    database: Database, writer: Connection, connection: Connection
) -> None:
    """Claims, starts and ends of many jobs, from the first to the last; the rows are the fold's."""
    journal = Journal(connection)
    job_ids = [await journal.submit(name=f"job {nth}") for nth in range(3)]
    for command in _FREQUENT:
        units = await _decided(connection, command, *job_ids)
        assert isinstance(job_rows.rows([change for _, change in units]), GuardedRows)
        results = await append_units(writer, units)
        assert all(isinstance(result, Appended) for result in results)
    assert await is_as_the_log_has_it(database)
    for job_id in job_ids:
        assert (await row_of(connection, job_id))["status"] == "completed"


@pytest.mark.parametrize("off", [-1, 7])
@pytest.mark.parametrize("nth", range(3))
async def test_a_row_that_lies_does_not_decide(
    database: Database, writer: Connection, connection: Connection, nth: int, off: int
) -> None:
    """Too low or too high: the log is asked, the append holds, and the row is right again.

    But not for a claim: what its row refuses is somebody else's, and there are other jobs.
    """
    journal = Journal(connection)
    job_ids = [await journal.submit() for _ in range(2)]
    for command in _FREQUENT[:nth]:
        await append_units(writer, await _decided(connection, command, *job_ids))
    units = await _decided(connection, _FREQUENT[nth], *job_ids)
    await connection.execute(
        "UPDATE jobs SET version = version + $2 WHERE job_id = $1", job_ids[1], off
    )
    results = await append_units(writer, units)
    assert isinstance(results[0], Appended)
    if _FREQUENT[nth] is _CLAIM:
        assert isinstance(results[1], Conflict)
        assert len(await _versions(connection, job_ids[1])) == units[1][0].expected_version
    else:
        assert isinstance(results[1], Appended)
        assert await is_as_the_log_has_it(database)


@pytest.mark.parametrize("nth", range(3))
async def test_a_row_of_yesterday_gives_nobody_a_job(
    writer: Connection, connection: Connection, nth: int
) -> None:
    """It says the version that a stale append expects: the log refuses, for that job alone."""
    journal = Journal(connection)
    job_ids = [await journal.submit() for _ in range(2)]
    for command in _FREQUENT[:nth]:
        await append_units(writer, await _decided(connection, command, *job_ids))
    stale = await _decided(connection, _FREQUENT[nth], *job_ids)
    async with connection.transaction():  # the log goes on, and the row does not
        (_, change) = stale[0]
        await append(connection, [an_append(change.stream_id, change.version - 1)])
    results = await append_units(writer, stale)
    assert isinstance(results[0], Conflict)
    assert isinstance(results[1], Appended)
    assert await _versions(connection, job_ids[0]) == list(range(1, change.version + 1))


async def test_a_guarded_append_takes_row_by_row(
    database: Database, writer: Connection, connection: Connection
) -> None:
    """While it waits for the first of two jobs, others change the second, and are not waited for.

    So a ring, of one who has the row and waits for the log's index, and one who has the entry in
    the index and waits for the row, takes two who are at the same job within microseconds.
    """
    journal = Journal(connection)
    one, other = sorted([await journal.submit(), await journal.submit()])
    for job_id in (one, other):
        await journal.claim(job_id)
    ends = await _decided(connection, _COMPLETE, one, other)
    stop = await _decided(connection, CancelJob(), other)
    third, canceller = await database.connect(), await database.connect_writer()
    try:
        in_the_way = third.transaction()
        await in_the_way.start()
        await append(third, [an_append(one, ends[0][0].expected_version)])
        ending = asyncio.create_task(append_units(writer, ends))
        await until_blocked(connection, writer.get_server_pid())
        (stopped,) = await append_units(canceller, stop)
        assert isinstance(stopped, Appended)
        await in_the_way.rollback()
        ended, late = await ending
        assert isinstance(ended, Appended)
        assert late == Conflict(other, stop[0][0].expected_version)
    finally:
        await third.close()
        await canceller.close()
    assert await is_as_the_log_has_it(database)


async def _to_many(
    connection: Connection, command: JobCommand, *job_ids: UUID
) -> tuple[Alike[JobState], AppendedToMany]:
    """Decide a command for jobs as they stand, and append that in one statement."""
    found = await jobs.get_many(connection, job_ids)
    streams = [(job.job_id, job.state, job.version) for job in found.values()]
    (decision,) = decided_alike(JOB, Repeats(alike, likewise), streams, command, SYSTEM)
    rows = job_rows.rows_to_many(decision, likewise)
    return decision, await append_to_many(connection, decision.append, rows)


async def test_one_event_goes_to_many_jobs(
    database: Database, writer: Connection, connection: Connection
) -> None:
    """Claims, starts and ends, from the first to the last; the rows are the fold's."""
    journal = Journal(connection)
    job_ids = [await journal.submit(name=f"job {nth}") for nth in range(3)]
    for command in _FREQUENT:
        decision, appended = await _to_many(writer, command, *job_ids)
        assert appended.stream_ids == frozenset(job_ids)
        assert appended.recorded_at is not None
        ends = [(await read_stream(connection, job_id))[-1] for job_id in job_ids]
        event_ids = sorted(numbered(decision.append.ids_begin, nth) for nth in range(1, 4))
        assert sorted(end.event_id for end in ends) == event_ids
    assert await is_as_the_log_has_it(database)


async def test_a_claim_and_its_start_go_to_many_jobs(
    database: Database, writer: Connection, connection: Connection
) -> None:
    """Two events in one statement, their positions in order; the row is the fold's."""
    journal = Journal(connection)
    job_ids = [await journal.submit(name=f"job {nth}") for nth in range(3)]
    decision, appended = await _to_many(writer, _CLAIM_STARTED, *job_ids)
    assert appended.stream_ids == frozenset(job_ids)
    for append_ in decision.append.each():
        events = await read_stream(connection, append_.stream_id, append_.expected_version)
        assert [(one.event_id, one.type) for one in events] == [
            (one.event_id, one.type) for one in append_.events
        ]
        assert [one.type for one in events] == ["job.claimed", "job.started"]
        assert events[0].position < events[1].position
        row = await row_of(connection, append_.stream_id)
        assert (row["status"], row["version"]) == ("running", events[1].version)
        assert row["started_at"] == row["claimed_at"] == events[1].recorded_at
    assert await is_as_the_log_has_it(database)


async def test_a_claim_with_its_start_is_not_of_who_moved_on(
    writer: Connection, connection: Connection
) -> None:
    """One job's row is gone, another's lies: the first is left out, the second asked of the log."""
    journal = Journal(connection)
    taken, lying, free = sorted([await journal.submit() for _ in range(3)])
    found = await jobs.get_many(connection, [taken, lying, free])
    streams = [(one.job_id, one.state, one.version) for one in found.values()]
    (decision,) = decided_alike(JOB, Repeats(alike, likewise), streams, _CLAIM_STARTED, SYSTEM)
    await journal.claim(taken)
    async with connection.transaction():  # the log goes on, and the row does not
        await append(connection, [an_append(lying, found[lying].version)])
    rows = job_rows.rows_to_many(decision, likewise)
    appended = await append_to_many(writer, decision.append, rows)
    assert appended.stream_ids == {free}
    assert (await row_of(connection, free))["status"] == "running"
    assert await _versions(connection, free) == list(range(1, found[free].version + 3))
    assert await _versions(connection, lying) == list(range(1, found[lying].version + 2))


@pytest.mark.parametrize("nth", range(3))
async def test_to_many_is_not_to_who_moved_on(
    writer: Connection, connection: Connection, nth: int
) -> None:
    """One whose row is elsewhere is left out; so is one whose row lies, since the log is asked."""
    journal = Journal(connection)
    job_ids = [await journal.submit() for _ in range(4)]
    for command in _FREQUENT[:nth]:
        await _to_many(writer, command, *job_ids)
    moved, lying, *others = job_ids
    await connection.execute("UPDATE jobs SET version = version + 1 WHERE job_id = $1", moved)
    job = await jobs.get(connection, moved)
    assert job is not None
    found = await jobs.get_many(connection, job_ids)
    streams = [(one.job_id, one.state, job.version - 1) for one in found.values()]
    (decision,) = decided_alike(JOB, Repeats(alike, likewise), streams, _FREQUENT[nth], SYSTEM)
    rows = job_rows.rows_to_many(decision, likewise)
    async with connection.transaction():  # the log goes on, and the row does not
        await append(connection, [an_append(lying, job.version - 1)])
    asked_the_log = await append_to_many(writer, decision.append, rows)
    assert asked_the_log.stream_ids == {moved, *others}
    versions = [len(await _versions(connection, job_id)) for job_id in job_ids]
    assert versions == [job.version] * 4
    again = await append_to_many(writer, decision.append, rows)
    assert again == (frozenset(), again.recorded_at)
    for job_id in others:
        assert (await row_of(connection, job_id))["version"] == job.version
