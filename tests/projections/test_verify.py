"""Verify tells where a table is not what the log makes of it, and is in nobody's way."""

from typing import Final

import psycopg

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.ids import new_id
from reactorcide.projections.table import Difference
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.rebuilding import JOBS, rows_of, some_jobs, verified

_COPY_OF: Final = """
INSERT INTO jobs
SELECT (jsonb_populate_record(jobs, jsonb_build_object('job_id', $2::uuid))).* FROM jobs
WHERE job_id = $1"""
_LOCKS_OF_OTHERS: Final = """
SELECT DISTINCT mode FROM pg_locks
JOIN pg_class AS c ON c.oid = relation AND c.relname ~ '^(events|jobs)'
WHERE pid <> pg_backend_pid() AND database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
)"""


async def test_verify_names_keys_and_columns_and_changes_nothing(
    database: Database, connection: Connection
) -> None:
    """A changed row, one too many, one too few."""
    journal = await some_jobs(connection, 3)
    changed, lost = await journal.submit(), await journal.submit()
    surplus = new_id()
    await connection.execute(
        "UPDATE jobs SET status = 'completed', priority = 7 WHERE job_id = $1", changed
    )
    await connection.execute(_COPY_OF, lost, surplus)
    await connection.execute("DELETE FROM jobs WHERE job_id = $1", lost)
    before = await rows_of(connection, JOBS)
    seen = await verified(database)
    assert set(seen.differences) == {
        Difference(changed, "changed", ("priority", "status")),
        Difference(surplus, "surplus", ()),
        Difference(lost, "missing", ()),
    }
    assert await rows_of(connection, JOBS) == before


async def test_nobody_waits_for_a_verify(database: Database, connection: Connection) -> None:
    """In the middle of it others append, and it holds no lock that any of them would wait for."""
    await some_jobs(connection, 3)
    found: list[str] = []

    def look(_done: int, _total: int) -> None:
        with psycopg.connect(database.uri, autocommit=True) as other:
            found.extend(row[0] for row in other.execute(_LOCKS_OF_OTHERS).fetchall())
            other.execute("SET lock_timeout = '1ms'")
            other.execute("UPDATE jobs SET priority = priority + 1")

    seen = await verify(database, JOBS, look)
    assert set(found) == {"AccessShareLock"}
    assert seen.differences == ()  # of the moment before
    assert len((await verified(database)).differences) == 3
