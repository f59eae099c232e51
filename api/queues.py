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
from reactorcide.api.pages import PageQuery
from reactorcide.projections import queues


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
    """Which part of the list: as everywhere, with cursors of its own."""

    cursor: Annotated[str, AfterValidator(_cursor)] | None = None


async def list_queues(call: Call[None, QueueListQuery]) -> Response:
    """List the queues with jobs that have not ended, by name: of everybody's jobs."""
    if not call.caller.sees_every_job:
        raise forbidden(detail="Only an auditor, operator or admin sees the queues")
    query = call.query
    after = _name_of(query.cursor) if query.cursor is not None else ""
    page = await queues.list_page(call.services.pool, after, query.limit, query.offset)
    content = {
        "queues": [asdict(queue) for queue in page.queues],
        "total": page.total,
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": None if page.next_after is None else _cursor_of(page.next_after),
    }
    return json_answer(content)
