"""What the tests of rebuilds share: jobs, a quiet rebuild of their table, a look at its rows."""

import asyncio
from typing import Final

import asyncpg

from reactorcide.eventstore.database import Database
from reactorcide.projections.projection import Projection, named
from reactorcide.projections.rebuild import Rebuilt, rebuild
from reactorcide.projections.verify import Verified, verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal

JOBS: Final = named("jobs")
APART: Final = 1
"""Events for each program: enough to fold in several."""

_ALL_ROWS: Final = "SELECT format('SELECT * FROM %I ORDER BY %I', $1::text, $2::text)"
BESIDE: Final = "SELECT to_regclass('jobs_rebuild')"
_OTHERS_LEFT: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


def quiet(_done: int, _total: int) -> None:
    """Hear of no progress."""


async def rebuilt(database: Database, projection: Projection = JOBS) -> Rebuilt:
    """Rebuild a table."""
    return await rebuild(database, projection, quiet)


async def until_alone(connection: Connection) -> None:
    """A killed program's sessions end when the server sees that it is gone."""
    async with asyncio.timeout(30):
        while await connection.fetchval(_OTHERS_LEFT):
            await connection.execute("SELECT pg_sleep(0.01)")


async def verified(database: Database, projection: Projection = JOBS) -> Verified:
    """Verify a table."""
    return await verify(database, projection, quiet)


async def rows_of(connection: Connection, projection: Projection) -> list[asyncpg.Record]:
    """Return all rows of a table, by its key."""
    text = await connection.fetchval(_ALL_ROWS, projection.name, projection.key)
    return await connection.fetch(text)


async def some_jobs(connection: Connection, number: int = 12) -> Journal:
    """Record some jobs, and the end of most of them."""
    journal = Journal(connection)
    for nth in range(number):
        job_id = await journal.submit(name=f"job {nth}", labels={"n": str(nth)})
        if nth % 3:
            await journal.finish(job_id)
    return journal
