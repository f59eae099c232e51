"""Upkeep: what is due is queued, what waits in vain is cancelled, lost leases expire, once."""

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import (
    CancelJob,
    Completed,
    DeleteJob,
    Failed,
    FinishAttempt,
    StartJob,
    Status,
)
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import TransactionDoor
from reactorcide.eventstore.store import read_stream
from reactorcide.projections import due_jobs, job_rows
from reactorcide.projections.upkeep import Effort, Kept, Upkeep, upkeep
from reactorcide.tests.projections.journal import Journal, now, row_of

NOTHING: Final = Kept(0, 0, 0)
_LOSE_LEASES: Final = "UPDATE jobs SET lease_until = now() - interval '1 second'"


async def _keep(journal: Journal) -> Kept:
    return await upkeep(journal.connection, journal.door)


async def test_with_nothing_to_notice_nothing_is_recorded(connection: Connection) -> None:
    """A queued job, one that runs, one that waits for tomorrow: all are left alone."""
    journal = Journal(connection)
    await journal.submit()
    await journal.claim(await journal.submit())
    await journal.submit(run_at=now() + timedelta(days=1))
    assert await _keep(journal) == NOTHING


async def test_a_job_is_queued_when_its_time_has_come(connection: Connection) -> None:
    """run_at is compared with the database's clock."""
    journal = Journal(connection)
    job_id = await journal.submit(run_at=now() + timedelta(seconds=0.2))
    assert (await row_of(connection, job_id))["status"] == "submitted"
    while (await due_jobs.next_due(connection)).at is not None:
        pass  # the database's clock goes on
    assert await _keep(journal) == Kept(1, 0, 0)
    assert (await row_of(connection, job_id))["status"] == "queued"


async def test_a_dependent_is_queued_when_all_it_waits_for_completed(
    connection: Connection,
) -> None:
    """Not before the last one, and also when one of them was deleted since."""
    journal = Journal(connection)
    first, second = await journal.submit(), await journal.submit()
    job_id = await journal.submit(depends_on=(first, second), waits=True)
    await journal.finish(first)
    assert await _keep(journal) == NOTHING
    await journal.finish(second)
    await journal.tell(first, DeleteJob())
    assert await _keep(journal) == Kept(1, 0, 0)
    assert (await row_of(connection, job_id))["status"] == "queued"


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_dependent_is_cancelled_when_a_dependency_ends_otherwise(
    connection: Connection, *, deleted: bool
) -> None:
    """The reason names the dependency; a chain is cancelled to its end."""
    journal = Journal(connection)
    first = await journal.submit()
    second = await journal.submit(depends_on=(first,), waits=True)
    third = await journal.submit(depends_on=(second,), waits=True)
    await journal.finish(first, Failed(1, "no"))
    if deleted:
        await journal.tell(first, DeleteJob())
    assert await _keep(journal) == Kept(0, 1, 0)
    row = await row_of(connection, second)
    assert row["status"] == "cancelled"
    assert str(first) in row["last_error"]
    assert await _keep(journal) == Kept(0, 1, 0)
    assert str(second) in (await row_of(connection, third))["last_error"]


async def test_a_lost_lease_queues_the_job_again(connection: Connection) -> None:
    """The stale attempt is refused afterwards."""
    journal = Journal(connection)
    job_id = await journal.submit()
    attempt = await journal.claim(job_id)
    await connection.execute(_LOSE_LEASES)
    assert await _keep(journal) == Kept(0, 0, 1)
    row = await row_of(connection, job_id)
    assert (row["status"], row["lost_leases"], row["worker_id"]) == ("queued", 1, None)
    with pytest.raises(NotLeaseHolder):
        await journal.tell(job_id, FinishAttempt(attempt, Failed(1, "late"), now(), 0))
    assert await _keep(journal) == NOTHING


async def test_an_attempt_whose_time_is_long_over_timed_out(connection: Connection) -> None:
    """Whoever looks says so when its worker does not; what the worker says later is refused."""
    journal = Journal(connection)
    job_id = await journal.submit(timeout_seconds=60)
    attempt = await journal.claim(job_id)
    await journal.tell(job_id, StartJob(attempt))
    await connection.execute(_LOSE_LEASES)
    await connection.execute("UPDATE jobs SET started_at = now() - interval '80 seconds'")
    assert await _keep(journal) == Kept(0, 0, 1)
    row = await row_of(connection, job_id)
    assert (row["status"], row["exit_code"]) == ("timeout", None)
    assert "60 s" in row["last_error"]
    with pytest.raises(NotLeaseHolder):
        await journal.tell(job_id, FinishAttempt(attempt, Completed(), now(), 0))


async def test_a_missing_lease_is_a_lost_one(connection: Connection) -> None:
    """A job never runs for ever because a row is gone."""
    journal = Journal(connection)
    await journal.claim(await journal.submit())
    await connection.execute("UPDATE jobs SET lease_until = NULL")
    assert await _keep(journal) == Kept(0, 0, 1)


@pytest.mark.parametrize(
    ("fields", "status"), [({"on_lost_lease": "fail"}, "failed"), ({}, "queued")]
)
async def test_policy_says_what_follows_a_lost_lease(
    connection: Connection, fields: dict[str, Any], status: str
) -> None:
    """In the same append as job.lease_expired."""
    journal = Journal(connection)
    job_id = await journal.submit(**fields)
    await journal.claim(job_id)
    await connection.execute(_LOSE_LEASES)
    await _keep(journal)
    assert (await row_of(connection, job_id))["status"] == status


async def test_a_job_asked_to_stop_whose_worker_is_lost_is_cancelled(
    connection: Connection,
) -> None:
    """Nobody is left who could stop it."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.claim(job_id)
    await journal.tell(job_id, CancelJob())
    await connection.execute(_LOSE_LEASES)
    await _keep(journal)
    assert (await row_of(connection, job_id))["status"] == "cancelled"


async def test_several_at_once_do_each_thing_once(
    database: Database, connection: Connection
) -> None:
    """Conflicts are no errors; what all recorded together is what there was to do."""
    journal = Journal(connection)
    lost = [await journal.submit() for _ in range(20)]
    for job_id in lost:
        await journal.claim(job_id)
    await connection.execute(_LOSE_LEASES)
    base = await journal.submit()
    waiting = [await journal.submit(depends_on=(base,), waits=True) for _ in range(20)]
    await journal.finish(base)
    others = [await database.connect() for _ in range(4)]
    try:
        kept = await asyncio.gather(
            *[upkeep(other, TransactionDoor(other, job_rows.rows)) for other in others]
        )
    finally:
        await asyncio.gather(*[other.close() for other in others])
    assert sum(one.queued for one in kept) == 20
    assert sum(one.expired for one in kept) == 20
    for job_id in (*lost, *waiting):
        types = [event.type for event in await read_stream(connection, job_id)]
        assert types.count("job.lease_expired") <= 1
        assert (await row_of(connection, job_id))["status"] == "queued"


async def test_what_takes_long_is_done_less_often() -> None:
    """Ten times as long as it took, nothing more is spent on it; on other things it is."""
    clock = iter((0.0, 1.0, 10.9, 10.9, 10.9, 11.0, 11.0, 11.0, 11.0)).__next__
    effort = Effort(clock)

    async def one() -> int:
        return 1

    assert await effort.spend("slow", one) == 1  # from 0 to 1
    assert await effort.spend("slow", one) == 0
    assert await effort.spend("other", one) == 1
    assert await effort.spend("slow", one) == 1  # from 11 on
    assert await effort.spend("slow", one) == 1  # it took no time at all


async def test_what_costs_little_is_done_no_oftener_than_is_worth_it() -> None:
    """A pause can be asked for, whatever the work took."""
    effort = Effort(iter((0.0, 0.1, 1.0, 2.2, 2.3)).__next__)

    async def one() -> int:
        return 1

    assert await effort.spend("cheap", one, at_least=2.0) == 1  # until 0.1
    assert await effort.spend("cheap", one, at_least=2.0) == 0
    assert await effort.spend("cheap", one, at_least=2.0) == 1


async def test_lost_leases_are_looked_for_every_other_second_at_least(
    connection: Connection,
) -> None:
    """However long a look takes: a dead worker's job is to run again within seconds."""
    journal = Journal(connection)
    await journal.claim(await journal.submit())
    await connection.execute(_LOSE_LEASES)
    clock = iter((0.0, 60.0, 61.9, 62.1, 62.1)).__next__
    effort = Effort(clock)
    assert await upkeep(connection, journal.door, effort) == Kept(0, 0, 1)  # from 0 to 60
    await journal.claim(await journal.submit())
    await connection.execute(_LOSE_LEASES)
    assert await upkeep(connection, journal.door, effort) == NOTHING
    assert await upkeep(connection, journal.door, effort) == Kept(0, 0, 1)


async def test_what_is_put_off_waits(connection: Connection) -> None:
    """After an outage a living worker beats, and reports, before its lease is called lost."""
    journal = Journal(connection)
    await journal.claim(await journal.submit())
    await connection.execute(_LOSE_LEASES)
    effort = Effort(iter((0.0, 1.9, 2.1, 2.1)).__next__)
    effort.put_off("lost", 2.0)
    assert await upkeep(connection, journal.door, effort) == NOTHING
    assert await upkeep(connection, journal.door, effort) == Kept(0, 0, 1)


async def test_a_dear_look_for_lost_leases_holds_up_nothing_else(connection: Connection) -> None:
    """The lease is left to a later pass; what is due is queued, and so is a dependent."""
    journal = Journal(connection)
    lost = await journal.submit()
    await journal.claim(lost)
    await connection.execute(_LOSE_LEASES)
    clock = iter((0.0, 1.0, 2.0, 3.5, 3.5)).__next__
    effort = Effort(clock)
    assert await upkeep(connection, journal.door, effort) == Kept(0, 0, 1)  # from 0 to 1
    await journal.claim(lost)
    await connection.execute(_LOSE_LEASES)
    base = await journal.submit()
    await journal.submit(depends_on=(base,), waits=True)
    await journal.finish(base)
    await connection.execute(_LOSE_LEASES)
    assert await upkeep(connection, journal.door, effort) == Kept(1, 0, 0)
    assert await upkeep(connection, journal.door, effort) == Kept(0, 0, 1)


async def test_the_task_notices_by_itself(database: Database, connection: Connection) -> None:
    """A due job is queued at its time, not at the next poll; leaving ends the task."""
    journal = Journal(connection)
    pool = await database.create_pool(1, 2)
    async with (
        Doorbell(database) as doorbell,
        Appender(database, job_rows.rows, 1) as appender,
        Upkeep(pool, appender, doorbell),
        asyncio.timeout(10),
    ):
        with doorbell.listen("jobs") as listener:
            job_id = await journal.submit(run_at=now() + timedelta(seconds=0.3))
            while (await row_of(connection, job_id))["status"] != Status.QUEUED:
                await listener.wait(5)
    await pool.close()


async def test_the_task_outlives_the_database(database: Database, connection: Connection) -> None:
    """A terminated connection is one failed pass."""
    journal = Journal(connection)
    pool = await database.create_pool(1, 1)
    async with (
        Doorbell(database) as doorbell,
        Appender(database, job_rows.rows, 1) as appender,
        Upkeep(pool, appender, doorbell),
        asyncio.timeout(20),
    ):
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        base = await journal.submit()
        job_id = await journal.submit(depends_on=(base,), waits=True)
        await journal.finish(base)
        with doorbell.listen("jobs") as listener:
            while (await row_of(connection, job_id))["status"] != Status.QUEUED:
                await listener.wait(0.2)
    await pool.close()
