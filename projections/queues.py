"""Tables `queue_counts` and `queue_changes`: how many jobs of each queue have not ended.

Whoever appends to jobs notes in the same statement by how much a count changes (see `job_rows`);
here the notes are added up, and counted. A count never looks at a job.
"""

from dataclasses import dataclass
from typing import Final

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

UNENDED: Final = (Status.SUBMITTED, Status.QUEUED, Status.CLAIMED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Queue:
    """How many jobs of a queue stand in each status that is not final."""

    queue_name: str
    submitted: int
    queued: int
    claimed: int
    running: int


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Part of the queues that have such jobs, by name."""

    queues: tuple[Queue, ...]
    total: int
    next_after: str | None
    """The name that the next page begins behind; None after the last one."""


async def list_page(connection: Reader, after: str, limit: int, offset: int) -> QueuePage:
    """Return `limit` queues, `offset` behind those up to the name `after` ("" for all)."""
    found = await connection.fetch(SQL["page"], after, limit + 1, offset)
    total: int = await connection.fetchval(SQL["count"])
    queues = tuple(Queue(*row) for row in found[:limit])
    return QueuePage(queues, total, queues[-1].queue_name if len(found) > limit else None)


async def total(connection: Reader, status: Status, queue_name: str | None) -> int:
    """Return how many jobs stand in one of UNENDED, in one queue or (None) in all; exact."""
    jobs: int = await connection.fetchval(SQL["total"], status, queue_name)
    return jobs


async def count_largest(connection: Reader, limit: int) -> dict[str | None, dict[str, int]]:
    """Return the counts by status of the queues with the most jobs; under None, all others'.

    Exact as of the statement. A status without jobs has no key.
    """
    counts: dict[str | None, dict[str, int]] = {}
    for queue_name, status, jobs in await connection.fetch(SQL["largest"], limit):
        counts.setdefault(queue_name, {})[status] = jobs
    return counts


async def add_up(connection: Reader, limit: int) -> int:
    """Add what appends noted to the counts, at most `limit` notes; return how many it took.

    One statement: nobody ever sees a note neither here nor there. Nothing while another session
    is at it.
    """
    taken: int = await connection.fetchval(SQL["add_up"], limit)
    return taken


async def forget_empty(connection: Reader) -> None:
    """Drop the counts that are 0."""
    await connection.execute(SQL["forget_empty"])
