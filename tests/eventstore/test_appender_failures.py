"""Whatever becomes of a call of the appender, its neighbours are not harmed, and it is told."""

import asyncio

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database, DatabaseUnavailable, StatementRefused
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import (
    SYSTEM,
    Append,
    Appended,
)
from reactorcide.eventstore.store import read_stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.appending import APPENDERS, Rows, a_unit
from reactorcide.tests.eventstore.facts import a_fact
from reactorcide.tests.eventstore.waiting import until


@pytest.mark.parametrize("state", ["poison", "-"])
async def test_what_postgresql_refuses_harms_no_neighbour(
    appender: Appender[str], connection: Connection, state: str
) -> None:
    """Of ten calls together one is refused, with the reason; the nine are written."""
    streams = [new_id() for _ in range(10)]
    answers = await asyncio.gather(
        *[appender.append([a_unit(s, 0, state if s == streams[4] else "1")]) for s in streams],
        return_exceptions=True,
    )
    refused = answers.pop(4)
    assert isinstance(refused, StatementRefused)
    assert refused.sqlstate == "22P02"
    assert all(isinstance(answer, list) for answer in answers)
    assert await read_stream(connection, streams[4]) == []


async def test_data_that_postgresql_refuses_are_refused_whole(
    appender: Appender[str], connection: Connection
) -> None:
    """Both units of the call, the good one too, or none."""
    good, bad = new_id(), new_id()
    poison = Append("job", bad, 0, (a_fact('{"a": "\\u0000"}'),), SYSTEM)
    units = [a_unit(good), (poison, Change(bad, 1, "1", ()))]
    with pytest.raises(StatementRefused):
        await appender.append(units)
    assert await read_stream(connection, good) == []


async def test_a_defect_in_the_rows_reaches_the_callers(appender: Appender[str]) -> None:
    """The appender lives on."""
    with pytest.raises(LookupError):
        await appender.append([a_unit(new_id(), 0, "defect")])
    (result,) = await appender.append([a_unit(new_id())])
    assert isinstance(result, Appended)


async def test_a_lost_connection_is_said_and_opened_again(
    appender: Appender[str], connection: Connection
) -> None:
    """Calls fail while it is gone, or find the new one; none hangs."""
    (pid,) = [row[0] for row in await connection.fetch(APPENDERS)]
    await connection.execute("SELECT pg_terminate_backend($1)", pid)

    async def is_written() -> bool:
        try:
            (result,) = await appender.append([a_unit(new_id())])
        except DatabaseUnavailable:
            return False
        return isinstance(result, Appended)

    await until(is_written)


async def test_a_call_in_flight_when_the_connection_breaks_is_told(
    appender: Appender[str], connection: Connection
) -> None:
    """Its outcome is unknown, so it is not repeated behind the caller's back."""
    stream_id = new_id()
    async with connection.transaction():
        await connection.execute("LOCK TABLE worker_beats")
        call = asyncio.create_task(appender.append([a_unit(stream_id)]))

        async def is_in_flight() -> bool:
            waiting = await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return bool(waiting)

        await until(is_in_flight)
        (pid,) = [row[0] for row in await connection.fetch(APPENDERS)]
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(DatabaseUnavailable):
            await call
    assert await read_stream(connection, stream_id) == []


async def test_a_caller_that_gave_up_harms_nobody(
    appender: Appender[str], connection: Connection
) -> None:
    """A cancelled call that was not yet taken is dropped; others are written."""
    first, dropped, last = new_id(), new_id(), new_id()
    calls = [asyncio.create_task(appender.append([a_unit(s)])) for s in (first, dropped, last)]
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.wait(calls)
    assert calls[1].cancelled()
    assert len(await read_stream(connection, first)) == 1
    assert len(await read_stream(connection, last)) == 1


async def test_a_deadlock_is_tried_again(database: Database, connection: Connection) -> None:
    """PostgreSQL picked this statement to break a ring: the next time it goes through."""
    await connection.execute("""
        CREATE SEQUENCE tries;
        CREATE FUNCTION refused_once() RETURNS timestamptz SECURITY DEFINER LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tries') = 1 THEN
                RAISE EXCEPTION 'in a ring' USING ERRCODE = 'deadlock_detected';
            END IF;
            RETURN now();
        END $$;""")
    ring = ", held AS (INSERT INTO worker_beats SELECT stream_id, refused_once() FROM first)"
    async with Appender[str](database, lambda _changes: InlineRows(ring, ()), 1) as appender:
        (result,) = await appender.append([a_unit(new_id())])
    assert isinstance(result, Appended)
    assert await connection.fetchval("SELECT last_value FROM tries") == 2


async def test_a_database_that_is_not_there_is_said_at_once(rows: Rows) -> None:
    """Entering fails like any other connection."""
    with pytest.raises(DatabaseUnavailable):
        async with Appender(Database("postgresql://nobody@127.0.0.1:1/nowhere"), rows):
            pass
