"""Reads of table `jobs` for what it is time: to queue a job, to give one up, to look again.

A suggestion each: whoever asks lets the rules and the log decide.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Reader
from reactorcide.projections.jobs import Job, job_of
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)


async def due(connection: Reader, limit: int) -> list[Job]:
    """Return waiting jobs that nothing holds back any more."""
    return [job_of(row) for row in await connection.fetch(SQL["due"], limit)]


async def blocked(connection: Reader, limit: int) -> list[tuple[Job, UUID, str]]:
    """Return waiting jobs that wait in vain: with a dependency, and the status it ended in."""
    found = await connection.fetch(SQL["blocked"], limit)
    return [(job_of(row), row["dependency"], row["dependency_status"]) for row in found]


async def held_without_lease(connection: Reader, limit: int) -> list[Job]:
    """Return claimed and running jobs whose lease is over, by the database's clock."""
    return [job_of(row) for row in await connection.fetch(SQL["held_without_lease"], limit)]


class Due(NamedTuple):
    """When the next job's run_at or retry_at comes, if any waits for one; by the database's clock.

    `at` lies before `asked_at` when it has come since the time that the question named.
    """

    at: datetime | None
    asked_at: datetime
    has_waiting: bool
    """There are jobs that are submitted and not queued, whatever they wait for."""

    @property
    def in_seconds(self) -> float | None:
        """How long that was from the question on; negative when it had come by then."""
        return None if self.at is None else (self.at - self.asked_at).total_seconds()


async def next_due(connection: Reader, since: datetime | None = None) -> Due:
    """Return what falls due next after `since`, by default after now.

    Who looks for jobs and then asks this gives the `asked_at` of the time before: what falls due
    between the look and the question is in neither otherwise.
    """
    row = await connection.fetchrow(SQL["next_due"], since)
    assert row is not None  # noqa: S101  it selects from nothing
    return Due(*row)
