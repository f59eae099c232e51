"""Decisions about jobs as they are written, and whether the rows are right then."""

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import JobState
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.record import Append, AppendResult
from reactorcide.eventstore.store import append
from reactorcide.projections import job_rows
from reactorcide.projections.projection import named
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection


async def append_units(
    connection: Connection, units: list[tuple[Append, Change[JobState]]]
) -> list[AppendResult]:
    """Append what was decided of jobs, with its rows."""
    rows = job_rows.rows([change for _, change in units])
    return await append(connection, [one for one, _ in units], rows)


async def is_as_the_log_has_it(database: Database) -> bool:
    """Say whether the rows of jobs are the fold of the log."""
    seen = await verify(database, named("jobs"), lambda _done, _total: None)
    return seen.differences == ()
