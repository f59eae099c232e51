"""Asynchronous projections: nothing skipped, nothing twice, one runner at a time, honest stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Final

import pytest

from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import (
    Database,
    DatabaseError,
    database_errors,
)
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append
from reactorcide.eventstore.store import append
from reactorcide.projections import checkpoints
from reactorcide.projections.audit_events import SUBSCRIPTION
from reactorcide.projections.checkpoints import CheckpointMoved, Standing
from reactorcide.projections.runner import Runner
from reactorcide.projections.subscription import Subscription, advance
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore import test_no_skip as no_skip
from reactorcide.tests.eventstore.facts import a_fact
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.journal import Journal

NAME: Final = SUBSCRIPTION.name
TESTING: Final = replace(SUBSCRIPTION, known_types=frozenset({"test.happened", *EVENT_TYPES}))

ROWS: Final = "SELECT position FROM audit_events ORDER BY position"
LOG: Final = "SELECT position FROM events ORDER BY position"
COLUMNS: Final = """
SELECT position, recorded_at, type, stream_type, stream_id, actor_type, actor_id, token_id, ip,
    request_id, correlation_id, causation_id, event_id
FROM """
DIFFERENT: Final = f"""
(({COLUMNS} events EXCEPT {COLUMNS} audit_events)
UNION ALL ({COLUMNS} audit_events EXCEPT {COLUMNS} events))"""
HOLDER: Final = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1380008020
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("_STANDBY_SECONDS", "_STOPPED_SECONDS", "_LOST_SECONDS"):
        monkeypatch.setattr(f"reactorcide.projections.runner.{pause}", 0.05)


async def positions(connection: Connection, sql: str = ROWS) -> list[int]:
    """Return the positions that a table has."""
    return [row[0] for row in await connection.fetch(sql)]


async def all_taken(connection: Connection) -> bool:
    """Say whether the table has all that the log has."""
    return await positions(connection) == await positions(connection, LOG)


async def standing(connection: Connection) -> Standing:
    """Return how the projection stands."""
    (found,) = await checkpoints.standings(connection, [NAME])
    return found


@asynccontextmanager
async def running(
    database: Database, subscription: Subscription = TESTING, runners: int = 1
) -> AsyncIterator[list[Runner]]:
    """Lend runners that run, each with a doorbell, and so a program, of its own."""
    started = []
    async with asyncio.timeout(60):
        try:
            for _ in range(runners):
                doorbell = Doorbell(database)
                runner = Runner(database, doorbell, subscription)
                await doorbell.__aenter__()
                started.append((runner, doorbell))
                await runner.__aenter__()
            yield [runner for runner, _ in started]
        finally:
            for runner, doorbell in started:
                await runner.__aexit__(None, None, None)
                await doorbell.__aexit__(None, None, None)


async def appended(connection: Connection, wire_type: str = "test.happened") -> None:
    """Append one event to a new stream."""
    one = Append("job", new_id(), 0, (a_fact("{}", wire_type),), SYSTEM)
    await append(connection, [one])


async def test_the_rows_are_copied_from_the_log(database: Database, connection: Connection) -> None:
    """Column by column, in batches of any size, and no row more."""
    journal = Journal(connection)
    for _ in range(6):
        await journal.finish(await journal.submit())
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, NAME)
        while (await advance(session, SUBSCRIPTION, 7)).is_behind:
            pass
    total = await connection.fetchval("SELECT count(*) FROM events")
    assert total == len(await positions(connection)) >= 20
    assert await connection.fetch(DIFFERENT) == []
    assert (await standing(connection)).lag_events == 0


async def test_nothing_is_skipped_while_many_write(
    database: Database, connection: Connection
) -> None:
    """Slow commits, rollbacks, killed writers, conflicts, and two runners that stand by."""
    course = no_skip.Course(database)
    async with running(database, runners=3):
        async with asyncio.TaskGroup() as writers:
            for number in range(no_skip.WRITERS):
                writers.create_task(no_skip.write(course, number))
        await until(lambda: all_taken(connection), 60)
    assert len(await positions(connection)) == no_skip.WRITERS * no_skip.COMMANDS


async def test_rows_wait_for_an_append_that_is_still_open(
    database: Database, connection: Connection
) -> None:
    """What was committed behind its gap comes after it, never without it."""
    slow = await database.connect()
    try:
        transaction = slow.transaction()
        await transaction.start()
        await appended(slow)
        await appended(connection)
        async with checkpoints.session(database) as session:
            await checkpoints.take(session, NAME)
            assert (await advance(session, TESTING)).position == 0
            assert await positions(connection) == []
            await transaction.commit()
            await advance(session, TESTING)
        assert await all_taken(connection)
    finally:
        slow.terminate()


async def _killed(connection: AnyConnection) -> None:
    with database_errors():
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def _failed(connection: AnyConnection) -> None:
    with database_errors():
        await connection.execute("SELECT 1 / 0")


@pytest.mark.parametrize("end", [_killed, _failed])
async def test_rows_and_checkpoint_are_written_together(
    database: Database,
    connection: Connection,
    end: Callable[[AnyConnection], Awaitable[None]],
) -> None:
    """Neither is there when the end comes between them, and the next runner writes both."""

    async def write_half(session: AnyConnection, after: int, until: int) -> None:
        await TESTING.write(session, after, until)
        await end(session)

    await appended(connection)
    owner = await database.connect(role=False)  # who may kill its session
    try:
        assert await checkpoints.take(owner, NAME)
        with pytest.raises(DatabaseError), database_errors():
            await advance(owner, replace(TESTING, write=write_half))
    finally:
        owner.terminate()
    assert await positions(connection) == []
    assert await checkpoints.position(connection, NAME) == 0
    async with running(database):
        await until(lambda: all_taken(connection))
    assert await checkpoints.position(connection, NAME) == await safe_position(connection, 0)


async def test_a_checkpoint_that_has_moved_undoes_the_batch(
    database: Database, connection: Connection
) -> None:
    """A runner that went on without the lock, however that came, writes nothing."""

    async def overtaken(session: AnyConnection, after: int, until: int) -> None:
        await checkpoints.move(connection, NAME, after, until)
        await TESTING.write(session, after, until)

    await appended(connection)
    async with checkpoints.session(database) as session:
        await checkpoints.take(session, NAME)
        with pytest.raises(CheckpointMoved):
            await advance(session, replace(TESTING, write=overtaken))
    assert await positions(connection) == []


async def test_one_runner_is_active_and_a_standby_takes_over(
    database: Database, connection: Connection
) -> None:
    """When it asks for the lock the next time after the session of the active one is gone."""
    async with running(database, runners=3):
        await appended(connection)
        await until(lambda: all_taken(connection))
        (holder,) = [row[0] for row in await connection.fetch(HOLDER)]
        await connection.execute("SELECT pg_terminate_backend($1)", holder)
        await appended(connection)
        await until(lambda: all_taken(connection))
        assert [row[0] for row in await connection.fetch(HOLDER)] != [holder]


async def test_a_ring_wakes_the_runner(database: Database, connection: Connection) -> None:
    """Long before it would look by itself."""
    async with running(database) as (runner,):
        took = []
        for _ in range(5):  # the best of some: others use this machine too
            await appended(connection)
            await until(lambda: all_taken(connection))
            await _until_it_waits(connection)
            began = monotonic()
            await appended(connection)
            runner._doorbell.ring("events")  # noqa: SLF001  the program's own
            await until(lambda: all_taken(connection))
            took.append(monotonic() - began)
            if took[-1] < 1:
                break
        assert min(took) < 1


async def _until_it_waits(connection: Connection) -> None:
    async def is_up_to_date() -> bool:
        return (await standing(connection)).why == "up to date"

    await until(is_up_to_date)


async def test_a_projection_that_nobody_runs_says_so(connection: Connection) -> None:
    """With how far it is behind."""
    await appended(connection)
    await appended(connection)
    found = await standing(connection)
    assert (found.position, found.lag_events, found.is_followed) == (0, 2, False)
    assert found.why == "nobody runs it"
    assert found.lag_seconds > 0


async def test_a_runner_outlives_its_session(database: Database, connection: Connection) -> None:
    """It connects again, alone, and goes on."""
    async with running(database):
        await appended(connection)
        await until(lambda: all_taken(connection))
        (holder,) = [row[0] for row in await connection.fetch(HOLDER)]
        await connection.execute("SELECT pg_terminate_backend($1)", holder)
        await appended(connection)
        await until(lambda: all_taken(connection), 15)


async def test_the_lock_is_one_sessions(database: Database) -> None:
    """A second one is refused until the first gives it back."""
    async with checkpoints.session(database) as one, checkpoints.session(database) as other:
        assert await checkpoints.take(one, NAME)
        assert not await checkpoints.take(other, NAME)
        await checkpoints.give_back(one, NAME)
        assert await checkpoints.take(other, NAME)
