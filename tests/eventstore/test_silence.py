"""A server that does not answer: who asked fails in time, and asks on a new connection."""

import asyncio

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database, DatabaseUnavailable, database_errors
from reactorcide.eventstore.domain.job import JobState
from reactorcide.projections import job_rows
from reactorcide.tests.support.silent_line import SilentLine
from reactorcide.tests.worker.jobs_at_work import Desk, desk_of

LONG = 30.0
SESSION = "SELECT pg_backend_pid()"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactorcide.eventstore.brief_pool._BACK_SECONDS", 0.1)
    monkeypatch.setattr("reactorcide.eventstore.brief_pool._CLOSE_SECONDS", 0.1)
    monkeypatch.setattr("reactorcide.eventstore.database.WRITE_SECONDS", 0.3)


async def test_a_read_fails_in_time_and_the_next_one_is_answered(line: SilentLine) -> None:
    """And so it is when many read; what is idle and silent does not hold up the end."""
    async with asyncio.timeout(LONG), await Database(line.uri).create_pool(4, 4, 0.3) as pool:
        line.fall_silent()
        with pytest.raises(DatabaseUnavailable), database_errors():
            await pool.fetchval("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1
        line.fall_silent()
        many = [pool.fetchval("SELECT 1") for _ in range(3)]
        ends = await asyncio.gather(*many, return_exceptions=True)
        assert TimeoutError in {type(end) for end in ends}
        assert await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(3))) == [1, 1, 1]


async def test_giving_up_a_read_does_not_wait_for_the_server(line: SilentLine) -> None:
    """Also when its caller had less patience than the pool."""
    async with asyncio.timeout(LONG), await Database(line.uri).create_pool(1, 1, LONG) as pool:
        line.fall_silent()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pool.fetchval("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_slow_statement_is_stopped_and_its_connection_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lives ends what was given up."""
    monkeypatch.setattr("reactorcide.eventstore.brief_pool._BACK_SECONDS", LONG)
    async with await database.create_pool(1, 1, 1) as pool:
        session = await pool.fetchval(SESSION)
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT pg_sleep(600)")
        assert await pool.fetchval(SESSION) == session


async def test_an_append_fails_in_time_and_the_next_one_is_written(
    line: SilentLine, database: Database
) -> None:
    """A lane whose server is silent is given up for a new one."""
    write: Appender[JobState] = Appender(Database(line.uri), job_rows.rows, 1)
    async with desk_of(database) as desk, write, asyncio.timeout(LONG):
        other = Desk(desk.pool, write, desk.doorbell)
        await other.submit()
        line.fall_silent()
        with pytest.raises(DatabaseUnavailable):
            await other.submit()
        job = await desk.job(await other.submit())
        assert job.submitted.name == "a job"
