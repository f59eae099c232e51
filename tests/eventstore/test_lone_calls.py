"""A caller that comes alone is written in its own turn, and is as safe there as in company."""

import asyncio
from functools import partial

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database, DatabaseUnavailable, StatementRefused
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Appended
from reactorcide.eventstore.store import read_stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.appending import APPENDERS, Rows, a_unit
from reactorcide.tests.eventstore.waiting import until

_WAITING = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
)"""


async def is_in_flight(connection: Connection) -> bool:
    """Say whether a statement waits for a lock."""
    return bool(await connection.fetchval(_WAITING))


async def test_a_cancelled_caller_takes_its_statement_back(
    appender: Appender[str], connection: Connection
) -> None:
    """Nothing is left in flight, and the connection takes the next call."""
    await appender.append([a_unit(new_id())])
    stream_id = new_id()

    async def is_taken_back() -> bool:
        return not await is_in_flight(connection)

    async with connection.transaction():
        await connection.execute("LOCK TABLE worker_beats")
        call = asyncio.create_task(appender.append([a_unit(stream_id)]))
        await until(partial(is_in_flight, connection))
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()
        await until(is_taken_back)
    (result,) = await appender.append([a_unit(new_id())])
    assert isinstance(result, Appended)
    assert await read_stream(connection, stream_id) == []


async def test_leaving_waits_for_a_lone_caller(
    database: Database, rows: Rows, connection: Connection
) -> None:
    """What was begun is in the log when the appender is closed."""
    stream_id = new_id()
    async with Appender(database, rows) as appender:
        await appender.append([a_unit(new_id())])
        call = asyncio.create_task(appender.append([a_unit(stream_id)]))
        await asyncio.sleep(0)
    assert isinstance((await call)[0], Appended)
    assert len(await read_stream(connection, stream_id)) == 1


async def test_those_that_come_meanwhile_go_together(appender: Appender[str], rows: Rows) -> None:
    """The first goes at once, the nine behind it in one statement."""
    await appender.append([a_unit(new_id())])
    answers = await asyncio.gather(*[appender.append([a_unit(new_id())]) for _ in range(10)])
    assert all(isinstance(result, Appended) for (result,) in answers)
    assert rows.batches == [1, 1, 9]


async def test_a_refused_call_is_told_and_the_next_is_taken(appender: Appender[str]) -> None:
    """As a conflict or a defect would be."""
    await appender.append([a_unit(new_id())])
    with pytest.raises(StatementRefused):
        await appender.append([a_unit(new_id(), 0, "poison")])
    with pytest.raises(LookupError):
        await appender.append([a_unit(new_id(), 0, "defect")])
    (result,) = await appender.append([a_unit(new_id())])
    assert isinstance(result, Appended)


async def test_a_connection_lost_meanwhile_is_told_and_opened_again(
    appender: Appender[str], connection: Connection
) -> None:
    """Whoever is in flight when it breaks, and those after it."""
    await appender.append([a_unit(new_id())])
    stream_id = new_id()

    async def is_written() -> bool:
        try:
            (result,) = await appender.append([a_unit(new_id())])
        except DatabaseUnavailable:
            return False
        return isinstance(result, Appended)

    async with connection.transaction():
        await connection.execute("LOCK TABLE worker_beats")
        call = asyncio.create_task(appender.append([a_unit(stream_id)]))
        await until(partial(is_in_flight, connection))
        for (pid,) in await connection.fetch(APPENDERS):
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(DatabaseUnavailable):
            await call
    assert await read_stream(connection, stream_id) == []
    await until(is_written)
