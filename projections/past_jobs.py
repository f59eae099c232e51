"""The jobs as they stood at a past position: which there were, in which status, in which queue.

What never changes in a job (owner, queue, when it was submitted) is taken from its row in `jobs`,
where it stood from its own events up to the position. To which status an event leads is said by
TRANSITIONS and handed to the statements; a job.submitted takes two steps of it where the job waits
for nothing. Writes nothing.

Nothing is kept for this, so that no writer pays: counting takes as long as reading what has
happened since, a page as long as looking at so many jobs' latest events.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from reactorcide.eventstore import store
from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.job import TRANSITIONS, Status
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job
from reactorcide.projections.moments import Cut, looking_back
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page
from reactorcide.projections.queues import Queue, QueuePage
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

ROWS_LOOKED_AT: Final = ROWS_COUNTED

_CLOCKS_APART: Final = timedelta(days=1)
"""A job's id has the time of the clock that made it; none goes wrong by more than this."""
_LAST_ID: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class PastFilter:
    """Which jobs a list of the past shows; None lets all pass."""

    user_id: UUID | None = None
    status: Status | None = None
    """Where it stood then."""
    queue_name: str | None = None


def _targets() -> dict[str, frozenset[Status]]:
    """Return to which statuses each type of event leads, from statuses that it does not keep."""
    found: dict[str, set[Status]] = defaultdict(set)
    for status, row in TRANSITIONS.items():
        for kind, target in row.items():
            found[kind.wire_type].update({target} - {status})
    return {wire_type: frozenset(statuses) for wire_type, statuses in found.items()}


def _leads(targets: dict[str, frozenset[Status]]) -> dict[str, Status]:
    """Return the one status that each type leads to. ValueError when one leads to two."""
    leads: dict[str, Status] = {}
    for wire_type, statuses in targets.items():
        if len(statuses) > 1:
            msg = f"{wire_type} alone does not tell the status"
            raise ValueError(msg)
        leads.update((wire_type, status) for status in statuses)
    return leads


LEADS: Final = _leads(_targets())
"""The status that a job has after its latest event, by the event's type; a job.submitted that does
not wait counts as the job.queued behind it."""
KEEPS: Final = tuple(wire_type for wire_type in _targets() if wire_type not in LEADS)
"""The types that leave a job where it stands."""

_RULES: Final = (list(LEADS), [str(status) for status in LEADS.values()], list(KEEPS))


async def list_queues(pool: Pool, cut: Cut, after: str, limit: int, offset: int) -> QueuePage:
    """Return what `queues.list_page` answered at the cut. Raises TooFarBack."""
    async with looking_back(pool) as connection:
        found = await connection.fetch(SQL["counts"], cut.position, *_RULES)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for queue_name, status, number in found:
        counts[queue_name][_known(status)] = number
    names = sorted(counts)
    shown = [name for name in names if name > after][offset : offset + limit + 1]
    page = tuple(_queue(name, counts[name]) for name in shown[:limit])
    return QueuePage(page, len(names), page[-1].queue_name if len(shown) > limit else None)


def _queue(name: str, counts: dict[str, int]) -> Queue:
    unended = (Status.SUBMITTED, Status.QUEUED, Status.CLAIMED, Status.RUNNING)
    return Queue(name, *[counts.get(status, 0) for status in unended])


async def list_page(pool: Pool, cut: Cut, wanted: PastFilter, page: Page) -> Listed[Job]:
    """Return the jobs that there were, as they stood, newest first.

    A look takes ROWS_LOOKED_AT of the jobs submitted by then: a page may hold fewer rows than its
    limit and yet not be the last, as in `job_lists`. `total` is exact when one look takes them
    all, else None. Raises TooFarBack, and CodecError for what can't be folded.
    """
    async with looking_back(pool) as connection:
        look = _Look(connection, cut, wanted)
        ids = await look.ids(page.before, page.limit + 1)
        total = await look.total()
        last = await look.last(page.before) if len(ids) <= page.limit else None
        streams = await store.read_streams(connection, ids[: page.limit])
    rows = []
    for job_id in ids[: page.limit]:
        job = jobs.fold(one for one in streams[job_id] if one.position <= cut.position)
        assert job is not None  # noqa: S101  one of its events was seen up to there
        rows.append(job)
    next_before = ids[page.limit - 1] if len(ids) > page.limit else last
    return Listed(tuple(rows), total, next_before)


class _Look:
    """The statements of one list, and what they all are given."""

    def __init__(self, connection: Connection, cut: Cut, wanted: PastFilter) -> None:
        self._connection = connection
        self._cut = cut
        self._wanted = wanted

    async def ids(self, before: UUID | None, limit: int) -> list[UUID]:
        """Return the jobs of one look that pass, newest first."""
        wanted, cut, look = self._wanted, self._cut, ROWS_LOOKED_AT
        found = await self._connection.fetch(
            SQL["page"],
            *(cut.position, *_RULES, cut.reached_at, self._below(before), wanted.user_id, look),
            *(wanted.queue_name, wanted.status, limit),
        )
        return [job_id for job_id, status in found if _known(status)]

    async def last(self, before: UUID | None) -> UUID | None:
        """Return the job where a look ends; None when it comes to the end of all."""
        return await self._seek(before, ROWS_LOOKED_AT - 1)

    async def total(self) -> int | None:
        """Return how many jobs pass; None when there are more than one look takes."""
        if await self._seek(None, ROWS_LOOKED_AT) is not None:
            return None
        return len(await self.ids(None, ROWS_LOOKED_AT))

    async def _seek(self, before: UUID | None, offset: int) -> UUID | None:
        keys = (self._cut.reached_at, self._below(before), self._wanted.user_id, offset)
        found: UUID | None = await self._connection.fetchval(SQL["look"], *keys)
        return found

    def _below(self, before: UUID | None) -> UUID:
        """Return an id that is above all that were made by then, or where the last page ended."""
        reached_at = self._cut.reached_at
        if reached_at is None:
            return _LAST_ID
        milliseconds = int((reached_at + _CLOCKS_APART).timestamp() * 1000)
        highest = UUID(int=milliseconds << 80)
        return highest if before is None else min(highest, before)


def _known(status: str | None) -> str:
    """Return a status. Raises IllegalTransition where the type of an event told none."""
    if status is None:
        raise IllegalTransition(stream_type="job", status="", event_type="of a newer version")
    return status
