"""Where the horizon stands: what it waits for, and what it does not wait for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Appended
from reactorcide.eventstore.store import append
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import an_append

BRIEFLY = 0.05
LONG = 5.0


async def recorded(connection: Connection) -> int:
    """Append one event to a new stream; return its position."""
    (result,) = await append(connection, [an_append(new_id(), 0)])
    assert isinstance(result, Appended)
    return result.position


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Connection]:
    """A second connection, whose transactions are left open."""
    opened = await database.connect()
    yield opened
    opened.terminate()


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Connection]:
    """A third connection."""
    opened = await database.connect()
    yield opened
    opened.terminate()


async def test_an_empty_log_is_settled_where_the_reader_is(connection: Connection) -> None:
    """There is nothing after 0."""
    assert await safe_position(connection, 0) == 0


async def test_a_log_at_rest_is_settled_to_its_end(connection: Connection) -> None:
    """Nobody writes: all that is there is safe, and a reader at the end stays there."""
    positions = [await recorded(connection) for _ in range(3)]
    assert await safe_position(connection, 0) == positions[-1]
    assert await safe_position(connection, positions[-1]) == positions[-1]


async def test_an_open_append_holds_the_horizon_before_its_gap(
    connection: Connection, writer: Connection
) -> None:
    """What was drawn first and is not committed must not be passed."""
    before = await recorded(connection)
    await writer.execute("BEGIN")
    await recorded(writer)
    await recorded(connection)
    assert await safe_position(connection, 0, BRIEFLY) == before
    assert await safe_position(connection, before, BRIEFLY) == before


async def test_the_horizon_moves_on_when_the_gap_is_filled(
    connection: Connection, writer: Connection, other: Connection
) -> None:
    """It waits for the commit, and returns soon after it."""
    await recorded(connection)
    await writer.execute("BEGIN")
    await recorded(writer)
    last = await recorded(connection)
    waiting = asyncio.create_task(safe_position(other, 0, LONG))
    assert not (await asyncio.wait([waiting], timeout=BRIEFLY))[0]
    await writer.execute("COMMIT")
    assert await asyncio.wait_for(waiting, 1) == last


@pytest.mark.parametrize("end", ["ROLLBACK", "terminate"])
async def test_a_gap_whose_writer_ended_without_a_commit_is_dead(
    connection: Connection, writer: Connection, other: Connection, end: str
) -> None:
    """A rollback and a killed backend both leave a gap for ever; readers pass it."""
    await writer.execute("BEGIN")
    await recorded(writer)
    last = await recorded(connection)
    waiting = asyncio.create_task(safe_position(other, 0, LONG))
    assert not (await asyncio.wait([waiting], timeout=BRIEFLY))[0]
    if end == "terminate":
        await connection.execute("SELECT pg_terminate_backend($1)", writer.get_server_pid())
    else:
        await writer.execute(end)
    assert await asyncio.wait_for(waiting, 1) == last


async def test_old_gaps_do_not_delay_anybody(connection: Connection) -> None:
    """Nobody writes: a gap needs no waiting."""
    for _ in range(3):
        await recorded(connection)
        await connection.execute("SELECT nextval('events_position_seq')")
    last = await recorded(connection)
    assert await safe_position(connection, 0, patience_seconds=0) == last


async def test_transactions_that_write_no_events_delay_nobody(
    connection: Connection, writer: Connection, other: Connection
) -> None:
    """One that wrote elsewhere and one that read the log stay open: no matter."""
    await writer.execute("BEGIN")
    await writer.execute("INSERT INTO worker_beats VALUES (gen_random_uuid(), now())")
    await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await other.fetch("SELECT * FROM events")
    await recorded(connection)
    await connection.execute("SELECT nextval('events_position_seq')")
    last = await recorded(connection)
    assert await safe_position(connection, 0, patience_seconds=0) == last


async def test_it_waits_only_for_those_who_were_there_first(
    connection: Connection, writer: Connection, other: Connection, database: Database
) -> None:
    """Who begins to append after the gap was seen can't have drawn it."""
    await writer.execute("BEGIN")
    await recorded(writer)
    last = await recorded(connection)
    reader = await database.connect()
    try:
        waiting = asyncio.create_task(safe_position(reader, 0, LONG))
        assert not (await asyncio.wait([waiting], timeout=BRIEFLY))[0]
        await other.execute("BEGIN")
        await recorded(other)
        await writer.execute("COMMIT")
        assert await asyncio.wait_for(waiting, 1) == last
    finally:
        await reader.close()


async def test_a_log_without_gaps_needs_no_waiting(
    connection: Connection, writer: Connection
) -> None:
    """An open append whose position lies beyond all that is visible hides nothing."""
    last = [await recorded(connection) for _ in range(3)][-1]
    await writer.execute("BEGIN")
    await recorded(writer)
    assert await safe_position(connection, 0, patience_seconds=0) == last


async def test_a_reader_far_behind_is_not_held_up_by_writers_that_end(
    connection: Connection, writer: Connection
) -> None:
    """Beyond the window in which gaps are counted the same holds."""
    last = await connection.fetchval("""
        WITH appended AS (
            INSERT INTO events (stream_id, stream_type, version, event_id, type,
                schema_version, data, actor_type)
            SELECT gen_random_uuid(), 'job', 1, gen_random_uuid(), 't', 1, '{}', 'system'
            FROM generate_series(1, 1500) RETURNING position
        ) SELECT max(position) FROM appended""")
    assert await safe_position(connection, 0, patience_seconds=0) == last
    await writer.execute("BEGIN")
    await recorded(writer)
    assert await safe_position(connection, 0, BRIEFLY) == last
