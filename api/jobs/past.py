"""The list of jobs as of a past moment. Who may see whose is decided by the caller."""

from datetime import datetime
from typing import Final
from uuid import UUID

from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import Flaw, invalid_input
from reactorcide.api.jobs.render import NO_KEYS, keys_of, render
from reactorcide.api.jobs.requests import JobListQuery
from reactorcide.api.moments import AT_POSITION, past_cut
from reactorcide.api.pages import envelope
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import past_jobs
from reactorcide.projections.past_jobs import PastFilter

_TAKEN: Final = frozenset({"at", "status", "queue_name", "user_id", "limit", "cursor"})
_MESSAGE: Final = "Does not go with at, which takes status, queue_name, user_id, limit and cursor"


async def list_past_jobs(
    call: Call[None, JobListQuery], moment: int | datetime, owner: UUID | None
) -> Response:
    """List the jobs that there were, as they stood, of one owner or (None) of all.

    Raises Problem (422, 503).
    """
    query, pool = call.query, call.services.pool
    if flaws := [
        Flaw(f"/{name}", "not_with_at", _MESSAGE)
        for name in type(query).model_fields
        if name not in _TAKEN and getattr(query, name)
    ]:
        raise invalid_input(*flaws)
    status = Status(query.status) if query.status else None
    wanted = PastFilter(owner, status, query.queue_name)
    async with past_cut(pool, moment) as cut:
        found = await past_jobs.list_page(pool, cut, wanted, query.page())
    keys = await keys_of(pool, found.rows)
    rows = [render(job, keys.get(job.job_id, NO_KEYS)) for job in found.rows]
    return json_answer(
        envelope("jobs", query, found, rows), headers={AT_POSITION: str(cut.position)}
    )
