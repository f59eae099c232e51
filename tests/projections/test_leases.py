"""Leases and beats: what is still held is renewed, and a worker learns what is not."""

import asyncio
from typing import Final

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import CancelJob, FinishAttempt, Released
from reactorcide.eventstore.handle import TransactionDoor
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import job_rows, leases
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import WORKER, Journal, now

_SECONDS_LEFT: Final = """
SELECT extract(epoch FROM lease_until - now())::float FROM jobs WHERE job_id = $1"""
_ANY_HELD: Final = "SELECT EXISTS (SELECT FROM jobs WHERE lease_until IS NOT NULL)"
_LOSE: Final = "UPDATE jobs SET lease_until = now() - interval '1 second'"


async def test_a_claim_opens_a_lease_and_the_end_of_the_attempt_closes_it(
    connection: Connection,
) -> None:
    """For as long as the claim says, by the database's clock."""
    journal = Journal(connection)
    job_id = await journal.submit()
    attempt = await journal.claim(job_id, lease_seconds=40)
    assert 35 < await connection.fetchval(_SECONDS_LEFT, job_id) <= 40
    await journal.tell(job_id, FinishAttempt(attempt, Released("stops"), now(), 0))
    assert await connection.fetchval(_SECONDS_LEFT, job_id) is None
    assert await journal.claim(job_id, lease_seconds=60) == 2
    assert await connection.fetchval(_SECONDS_LEFT, job_id) > 55


async def test_a_beat_renews_what_is_held_and_says_what_is_to_stop(connection: Connection) -> None:
    """One row of worker_beats, all leases, and the grace of those asked to stop."""
    journal = Journal(connection)
    running, stopping = await journal.submit(), await journal.submit()
    for job_id in (running, stopping):
        await journal.claim(job_id)
    await journal.tell(stopping, CancelJob(grace_seconds=3))
    beaten = await leases.beat(connection, WORKER, [(running, 1), (stopping, 1)], 120)
    assert beaten.held == {(running, 1): None, (stopping, 1): 3}
    for job_id in (running, stopping):
        assert await connection.fetchval(_SECONDS_LEFT, job_id) > 110
    assert await connection.fetchval("SELECT count(*) FROM worker_beats") == 1


async def test_a_beat_without_jobs_is_a_sign_of_life(connection: Connection) -> None:
    """An idle worker beats too."""
    assert (await leases.beat(connection, WORKER, [], 15)).held == {}
    assert await connection.fetchval("SELECT worker_id FROM worker_beats") == WORKER


async def test_a_beat_tells_which_of_how_many_workers_this_is(connection: Connection) -> None:
    """Of those heard of within a minute, in the order of their ids."""
    first, second, gone = new_id(), new_id(), new_id()
    for worker_id in (first, second, gone):
        await leases.beat(connection, worker_id, [], 15)
    await connection.execute(
        "UPDATE worker_beats SET beat_at = now() - interval '2 minutes' WHERE worker_id = $1", gone
    )
    beaten = [await leases.beat(connection, worker_id, [], 15) for worker_id in (first, second)]
    assert [(one.rank, one.alive) for one in beaten] == [(0, 2), (1, 2)]


async def test_only_the_holder_of_the_very_attempt_renews(connection: Connection) -> None:
    """Neither another worker, nor an earlier attempt, nor a job that ended."""
    journal = Journal(connection)
    job_id, over = await journal.submit(), await journal.submit()
    await journal.claim(job_id)
    await journal.finish(over)
    assert (await leases.beat(connection, new_id(), [(job_id, 1)], 500)).held == {}
    assert (await leases.beat(connection, WORKER, [(job_id, 2), (over, 1)], 500)).held == {}
    assert await connection.fetchval(_SECONDS_LEFT, job_id) <= 15


async def test_a_lease_is_lost_when_the_log_says_so(connection: Connection) -> None:
    """One that is over may still be renewed; once job.lease_expired is recorded, no more."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.claim(job_id)
    await connection.execute(_LOSE)
    assert (await leases.beat(connection, WORKER, [(job_id, 1)], 15)).held != {}
    assert not await upkeep(connection, journal.door)
    await connection.execute(_LOSE)
    assert (await upkeep(connection, journal.door)).expired == 1
    assert (await leases.beat(connection, WORKER, [(job_id, 1)], 15)).held == {}


async def test_beats_and_lost_leases_never_deadlock(
    database: Database, connection: Connection
) -> None:
    """Whoever locks several leases does so in the order of their ids."""
    journal = Journal(connection)
    job_ids = [await journal.submit() for _ in range(30)]
    beating = [await database.connect() for _ in range(3)]
    appending = await database.connect_writer()
    is_over = asyncio.Event()

    async def beat(other: Connection) -> None:
        while not is_over.is_set():
            held = [(job_id, attempt) for job_id in job_ids[::-1] for attempt in (1, 2)]
            await leases.beat(other, WORKER, held, -60)  # renewed, and over all the same

    async def lose() -> None:
        try:
            for _ in range(2):
                for job_id in job_ids:
                    await journal.claim(job_id)
                door = TransactionDoor(appending, job_rows.rows)
                while await connection.fetchval(_ANY_HELD):
                    await upkeep(connection, door)
        finally:
            is_over.set()

    try:
        await asyncio.gather(*[beat(other) for other in beating], lose())
    finally:
        await asyncio.gather(*[other.close() for other in (*beating, appending)])
    lost = await connection.fetch("SELECT lost_leases FROM jobs")
    assert {row[0] for row in lost} == {2}


async def test_a_beat_looks_up_what_it_renews_by_its_key(database: Database) -> None:
    """Also when the planner has last seen nobody hold anything: dead rows are not walked over."""
    beating = await database.connect_writer()
    try:
        await beating.execute("PREPARE beat AS " + leases._BEAT)  # noqa: SLF001  its plan is the claim
        explained = await beating.fetch("EXPLAIN EXECUTE beat (NULL, '{}', '{}', 15)")
    finally:
        await beating.close()
    plan = "\n".join(row[0] for row in explained)
    assert "Index Cond: (job_id = a.job_id)" in plan
    assert "Index Cond: (job_id = ANY " in plan
