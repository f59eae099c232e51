"""A rebuild that ends anywhere leaves the live table as it was; the next one goes on with it."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from typing import Final

import psycopg
import pytest

from reactorcide.benchmarks.rebuild_kills import Battery, battery
from reactorcide.eventstore.database import Database, DatabaseError
from reactorcide.projections import table
from reactorcide.projections.rebuild import rebuild
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.rebuilding import (
    APART,
    BESIDE,
    JOBS,
    rebuilt,
    rows_of,
    some_jobs,
    until_alone,
    verified,
)

_INDEXES: Final = """
SELECT i.relname, i.oid FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
JOIN pg_class AS t ON t.oid = indrelid WHERE t.relname LIKE $1"""
_CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_FOLDED: Final = "SELECT count(*) FROM rebuild_slices WHERE position IS NOT NULL"
_KILLED: Final = """
import asyncio, os, signal, sys
sys.path[:] = sys.argv[1:]
from reactorcide.eventstore.database import Database
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild
uri, events_each = sys.stdin.read().split()
kill = lambda done, total: done * 2 > total and os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(rebuild(Database(uri), named("jobs"), kill, int(events_each)))"""


async def test_a_cancelled_rebuild_leaves_all_as_it_was(
    database: Database, connection: Connection
) -> None:
    """As by Ctrl-C while it folds."""
    await some_jobs(connection)
    before = await rows_of(connection, JOBS)

    def cancel(_done: int, _total: int) -> None:
        task.cancel()

    task = asyncio.create_task(rebuild(database, JOBS, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows_of(connection, JOBS) == before
    assert not (await rebuilt(database)).differed


async def _killed_while_folding(database: Database, connection: Connection) -> None:
    """Kill -9 a rebuild at what it folds after half of the log."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, *sys.path, stdin=PIPE, stderr=PIPE
    )
    _, complaints = await program.communicate(f"{database.uri}\n{APART}\n".encode())
    assert program.returncode == -signal.SIGKILL, complaints
    await until_alone(connection)


async def test_a_killed_rebuild_is_gone_on_with(database: Database, connection: Connection) -> None:
    """The live table is untouched; what was folded is not folded again; what came since is in."""
    journal = await some_jobs(connection)
    before = await rows_of(connection, JOBS)
    await _killed_while_folding(database, connection)
    assert await rows_of(connection, JOBS) == before
    kept = await connection.fetchval(_FOLDED)
    assert kept > 0
    await journal.submit()
    told: list[int] = []
    made = await rebuild(database, JOBS, lambda done, _total: told.append(done))
    assert (made.was_under_way, made.differed, made.rows) == (True, False, 13)
    assert told[0] > 0
    assert len(await rows_of(connection, JOBS)) == 13
    assert (await verified(database)).differences == ()
    assert await connection.fetchval(BESIDE) is None
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 0


async def test_an_index_that_is_built_is_not_built_again(connection: Connection) -> None:
    """Whoever goes on builds those that are missing; each has its like on the live table."""
    beside = table.beside(JOBS)
    await table.create(connection, JOBS, beside)
    await table.index([connection], JOBS, beside)
    built = await _indexes(connection, "jobs%\\_rebuild")
    live = await _indexes(connection, "jobs%")
    assert len(built) == len(live) - len(built)
    await connection.execute("DROP INDEX jobs_ended_by_user_rebuild")
    await table.index([connection], JOBS, beside)
    again = await _indexes(connection, "jobs%\\_rebuild")
    assert again.keys() == built.keys()
    assert {name for name in built if again[name] != built[name]} == {"jobs_ended_by_user_rebuild"}


async def _indexes(connection: Connection, tables: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await connection.fetch(_INDEXES, tables)}


async def test_what_other_code_began_is_dropped(database: Database, connection: Connection) -> None:
    """Another version may fold another row from the same events."""
    await some_jobs(connection)
    await _killed_while_folding(database, connection)
    await connection.execute("UPDATE rebuilds SET made_by = 'another'")
    await connection.execute("UPDATE jobs_rebuild SET name = 'folded by other rules'")
    made = await rebuilt(database)
    assert (made.was_under_way, made.differed) == (False, False)
    assert (await verified(database)).differences == ()


async def test_killed_at_random_points_it_still_ends_equal(database: Database) -> None:
    """A small one of `make rebuild-kills`: writers go on, for inline and asynchronous alike."""
    outcome = await battery(database.uri, Battery(events=4000, kills=3, seed=1))
    assert outcome.kills == 3
    assert outcome.differed == []
    assert outcome.left == []


async def test_a_rebuild_whose_connections_are_cut_leaves_all_as_it_was(
    database: Database, connection: Connection
) -> None:
    """The server ends the sessions in the middle; it is a database error to the caller."""
    await some_jobs(connection)
    before = await rows_of(connection, JOBS)

    def cut(_done: int, _total: int) -> None:
        with psycopg.connect(database.uri, autocommit=True) as other:
            other.execute(_CUT)

    with pytest.raises(DatabaseError):
        await rebuild(database, JOBS, cut)
    again = await database.connect()
    try:
        assert await rows_of(again, JOBS) == before
    finally:
        await again.close()
    assert not (await rebuilt(database)).differed
