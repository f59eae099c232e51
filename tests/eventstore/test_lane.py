"""One connection of a program's own, opened again when it broke."""

import contextlib

import pytest

from reactorcide.eventstore.database import Database, DatabaseUnavailable, StatementRefused
from reactorcide.eventstore.lane import Lane
from reactorcide.tests.conftest import Connection


async def session_of(lane: Lane) -> int:
    """Return the number of the server's process at the other end."""
    (row,) = await lane.fetch("SELECT pg_backend_pid()")
    session: int = row[0]
    return session


async def test_it_is_opened_once_and_again_when_it_broke(
    database: Database, connection: Connection
) -> None:
    """Who asks while it breaks is told; who asks next has a new one."""
    lane = Lane(database)
    first = await session_of(lane)
    assert await session_of(lane) == first
    await connection.execute("SELECT pg_terminate_backend($1, 10000)", first)
    with contextlib.suppress(DatabaseUnavailable):  # unless the driver has noticed by itself
        assert await session_of(lane) != first
    assert await session_of(lane) != first
    await lane.close()


async def test_a_refused_statement_costs_no_connection(database: Database) -> None:
    """Nothing is wrong with the line."""
    lane = Lane(database)
    first = await session_of(lane)
    with pytest.raises(StatementRefused):
        await lane.fetch("SELECT 1 / 0")
    assert await session_of(lane) == first
    await lane.close()
    await lane.close()
