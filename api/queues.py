"""Operations on queues: how many jobs of each have not ended."""

import base64
import binascii
from dataclasses import asdict
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import forbidden
from reactorcide.api.moments import AT_POSITION, Moment, past_cut
from reactorcide.api.pages import PageQuery
from reactorcide.projections import past_jobs, queues


def _cursor_of(queue_name: str) -> str:
    """Return the opaque text of a name."""
    return base64.urlsafe_b64encode(queue_name.encode()).rstrip(b"=").decode()


def _name_of(cursor: str) -> str:
    """Return the name of an opaque text. Raises PydanticCustomError when it is none of ours."""
    try:
        padding = "=" * (-len(cursor) % 4)
        name = base64.b64decode(cursor + padding, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        name = ""
    if not name or "\0" in name or _cursor_of(name) != cursor:
        code = "cursor"
        raise PydanticCustomError(code, "Must be a cursor that a list gave")
    return name


def _cursor(text: str) -> str:
    _name_of(text)
    return text


class QueueListQuery(PageQuery):
    """Which part of the list: as everywhere, with cursors of its own; `at`: as of then."""

    cursor: Annotated[str, AfterValidator(_cursor)] | None = None
    at: Moment | None = None


async def list_queues(call: Call[None, QueueListQuery]) -> Response:
    """List the queues with jobs that have not ended, by name: of everybody's jobs.

    With `at` those that there were then. Raises Problem (403, 422, 503).
    """
    if not call.caller.sees_every_job:
        raise forbidden(detail="Only an auditor, operator or admin sees the queues")
    query = call.query
    after = _name_of(query.cursor) if query.cursor is not None else ""
    pool, headers = call.services.pool, {}
    if query.at is None:
        page = await queues.list_page(pool, after, query.limit, query.offset)
    else:
        async with past_cut(pool, query.at) as cut:
            page = await past_jobs.list_queues(pool, cut, after, query.limit, query.offset)
        headers[AT_POSITION] = str(cut.position)
    content = {
        "queues": [asdict(queue) for queue in page.queues],
        "total": page.total,
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": None if page.next_after is None else _cursor_of(page.next_after),
    }
    return json_answer(content, headers=headers)
