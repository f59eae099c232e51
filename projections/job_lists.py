"""Lists of jobs: pages and totals that cost the same, however many jobs there are.

Each statement stands once in the text and is made for every status: which partition it reaches
must be known when it is planned, not when it is run. No look into the table reads more than
ROWS_LOOKED_AT rows, whatever passes the filter. Writes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import queues
from reactorcide.projections.jobs import Job, job_of
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page, listed
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

ROWS_LOOKED_AT: Final = ROWS_COUNTED
"""A page shows what passes the filter among so many jobs; its `next_before` goes on behind them."""

_VISIBLE: Final = "status <> 'deleted'"
_NEWEST: Final = UUID(int=2**128 - 1)


def _of_status(status: Status | None) -> Mapping[str, str]:
    """Return all statements for jobs of one status; for all that can be seen without one."""
    made = dict(SQL)
    for whose in ("of_all", "of_user"):
        visible = made.pop(f"count_visible_{whose}")
        if status is None:
            made[f"count_{whose}"] = visible
    condition = _VISIBLE if status is None else f"status = '{status}'"
    return MappingProxyType({name: sql.replace(_VISIBLE, condition) for name, sql in made.items()})


_UNSEEN: Final = frozenset({Status.NONE, Status.DELETED})

STATEMENTS: Final = {
    status: _of_status(status) for status in (None, *Status) if status not in _UNSEEN
}
"""The statements by status and name."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None and {} let all pass."""

    user_id: UUID | None = None
    status: Status | None = None
    queue_name: str | None = None
    source_type: str | None = None
    labels: Mapping[str, str] | None = None
    """All of these must be on the job."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None
    """A part of the name, whatever the case."""

    def arguments(self) -> tuple[Any, ...]:
        """Return what no index answers: what a look compares row by row."""
        labels = json.dumps(dict(self.labels)) if self.labels else None
        return (
            self.queue_name,
            self.source_type,
            labels,
            self.created_after,
            self.created_before,
            self.q,
        )


class _Scope:
    """The statements of one list, and what they all are given."""

    def __init__(self, connection: Reader, wanted: JobFilter) -> None:
        self._wanted = wanted
        self._connection = connection
        self._sql = STATEMENTS[wanted.status]
        self._whose = "of_all" if wanted.user_id is None else "of_user"
        self._owner = () if wanted.user_id is None else ([wanted.user_id],)
        self._filter = wanted.arguments()
        self._is_filtered = any(one is not None for one in self._filter)

    async def rows(self, page: Page) -> list[Job]:
        """Return a page, and one row more where there is one."""
        keys = (page.before or _NEWEST, page.limit + 1, page.offset)
        if self._is_filtered:
            found = await self._fetch("passing", *keys, *self._filter)
        else:
            found = await self._fetch("page", *keys)
        return [job_of(row) for row in found]

    async def last_looked_at(self, page: Page) -> UUID | None:
        """Return the job where a filter's look ended; None when it came to the end of all."""
        if not self._is_filtered:
            return None
        found = await self._fetch("look", page.before or _NEWEST)
        return found[0][0] if found else None

    async def total(self) -> int | None:
        """Return how many jobs pass; None when the scope holds more than are counted."""
        status, queue_name = self._wanted.status, self._wanted.queue_name
        is_kept = self._wanted == JobFilter(status=status, queue_name=queue_name)
        if is_kept and status in queues.UNENDED:
            return await queues.total(self._connection, status, queue_name)
        if self._is_filtered:
            (counted,) = await self._fetch("count_passing", *self._filter)
        else:
            (counted,) = await self._fetch("count")
        return counted["passing"] if counted["looked_at"] <= ROWS_COUNTED else None

    async def _fetch(self, what: str, *arguments: Any) -> list[Any]:  # noqa: ANN401  a statement's
        sql = self._sql[f"{what}_{self._whose}"]
        return await self._connection.fetch(sql, *arguments, *self._owner)


async def list_page(connection: Reader, wanted: JobFilter, page: Page) -> Listed[Job]:
    """Return a page of jobs, newest first.

    `total` is exact while the scope (one user's jobs, or all of them, of one status, or of any)
    holds no more than ROWS_COUNTED jobs, else None: it never looks at more rows than that. Of
    everybody's jobs in a status that is not final, of one queue or all, it is always exact. A
    page of a larger scope may hold fewer rows than its limit and yet not be the last, when few
    of ROWS_LOOKED_AT jobs pass the filter: it is, when `next_before` is None.
    """
    if wanted.status in _UNSEEN:
        return listed([], [], page, 0)
    scope = _Scope(connection, wanted)
    found = await scope.rows(page)
    shown = listed(found, [job.job_id for job in found], page, await scope.total())
    if shown.next_before is None and (last := await scope.last_looked_at(page)) is not None:
        return Listed(shown.rows, shown.total, last)
    return shown
