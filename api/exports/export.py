"""Operations that hand out the audit trail as a file, and the signed manifest of such a file.

The file goes up to one position, chosen at its start and told in a header. What lies before that
does not change, so a file that broke off is gone on with behind its last whole record, and the
manifest is made from the same pages again: whoever downloaded it, and in how many parts.
"""

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import structlog
from starlette.responses import Response

from reactorcide.api.audit import catch_up, check_role
from reactorcide.api.call import Call
from reactorcide.api.errors import INVALID_TOKEN, invalid_field, unauthorized, unavailable
from reactorcide.api.exchange import exchange_of
from reactorcide.api.exports.asked import ExportQuery
from reactorcide.api.exports.manifest import Manifest, Sealed
from reactorcide.api.exports.taken import Asked, FileResponse, Piece, Taken
from reactorcide.api.streaming import primed
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import audit_events, audit_exports, checkpoints, sealed_log
from reactorcide.projections.audit_exports import Audited, Span

log = structlog.stdlib.get_logger("reactorcide.api")

TO_POSITION: Final = "Export-To-Position"
"""The header that tells up to where the file goes."""
NOTE: Final = "text/plain; charset=utf-8"

_PATIENCE_SECONDS: Final = 5.0
"""For the trail to take what is committed by now; a file can wait longer than a list."""
_RECHECK_SECONDS: Final = 1.0
_RECORDS_EACH: Final = 50


async def export(call: Call[None, ExportQuery]) -> Response:
    """Answer with the file, oldest event first. Raises Problem (403, 422, 503)."""
    check_role(call.caller)
    query, span = call.query, await _span(call)
    headers = {
        TO_POSITION: str(span.to),
        "Content-Disposition": f'attachment; filename="audit.{_ending(query)}"',
        "X-Accel-Buffering": "no",
    }
    if call.request.method == "HEAD":
        return Response(headers=headers, media_type=query.form.media_type)
    _say(call, span)
    operation = exchange_of(call.request.scope).operation
    taken = Taken(Asked(call.context, operation, query, span), call.services.accesses)
    content = await primed(taken.told(_pieces(call, span)))
    return FileResponse(content, taken, headers, query.form.media_type)


async def manifest(call: Call[None, ExportQuery]) -> Response:
    """Answer with what is signed of the file that the same query makes. Raises Problem."""
    check_role(call.caller)
    services, query = call.services, call.query
    if query.to is None:
        message = f"Required: the {TO_POSITION} that the export's answer told"
        raise invalid_field(pointer="/to", code="missing", message=message)
    key = services.settings.log_key
    if key is None:
        raise unavailable("This API has no key of the log: nothing can be signed")
    span = await _span(call)
    if call.request.method == "HEAD":
        return Response(media_type=NOTE)
    said = await _told(call, span)
    signer = Signer(await sealed_log.origin(services.pool), key)
    return Response(said.signed(signer), media_type=NOTE)


def _say(call: Call[None, ExportQuery], span: Span) -> None:
    """Say in the process's log who takes what along, before the first byte of it."""
    said = {"format": call.query.format, "filters": call.query.filters(), **span._asdict()}
    log.info("audit_exported", **said, **exchange_of(call.request.scope).bound())


async def _told(call: Call[None, ExportQuery], span: Span) -> Manifest:
    digest, size, count = sha256(), 0, 0
    first = last = None
    async for content, positions in _pieces(call, span):
        digest.update(content)
        size += len(content)
        count += len(positions)
        if positions:
            first, last = first or positions[0], positions[-1]
    query = call.query
    return Manifest(
        format=query.format,
        filters=query.filters(),
        after=query.after,
        to=span.to,
        first_position=first,
        last_position=last,
        count=count,
        bytes=size,
        sha256=digest.hexdigest(),
        checkpoint=await _sealed(call),
        made_at=datetime.now(UTC).isoformat(),
    )


async def _sealed(call: Call[Any, Any]) -> Sealed | None:
    newest = await sealed_log.newest(call.services.pool)
    if not newest:
        return None
    tree_size, root = newest[0].tree_size, b64encode(newest[0].root).decode()
    return Sealed(tree_size=tree_size, root=root, last_position=newest[0].last_position)


async def _span(call: Call[None, ExportQuery]) -> Span:
    """Return from where to where the file goes. Raises Problem (422: it has not come)."""
    pool, query = call.services.pool, call.query
    name = audit_events.SUBSCRIPTION.name
    latest = await checkpoints.position(pool, name)
    if query.to is None or max(query.to, query.after or 0) > latest:
        await catch_up(call.services, _PATIENCE_SECONDS)
        latest = await checkpoints.position(pool, name)
    for pointer, position in (("/after", query.after), ("/to", query.to)):
        if position is not None and position > latest:
            message = f"Lies in the future: the trail ends at {latest}"
            raise invalid_field(pointer, code="in_the_future", message=message)
    return Span(query.after or 0, latest if query.to is None else query.to)


async def _pieces(call: Call[None, ExportQuery], span: Span) -> AsyncIterator[Piece]:
    """Yield the file, page by page. Raises Problem when the caller may not read on.

    Then, and when the server stops, the answer is cut off: it must not look like a whole one.
    """
    services, query = call.services, call.query
    log = await sealed_log.origin(services.pool)
    sure_at = time.monotonic()
    if query.after is None and query.form.head:
        yield Piece(query.form.head, ())
    async for page in audit_exports.pages(services.pool, span, query.wanted()):
        if services.events.is_closing:
            raise unavailable("The server is stopping")
        if time.monotonic() - sure_at >= _RECHECK_SECONDS:
            if not await services.authenticator.is_unchanged(call.caller):
                raise unauthorized(INVALID_TOKEN)
            sure_at = time.monotonic()
        for some in _parts(page):
            content = b"".join([query.form.record(one, log) for one in some])
            yield Piece(content, tuple(one.event.position for one in some))


def _parts(page: Sequence[Audited]) -> Iterator[Sequence[Audited]]:
    """Cut a page, so that not all of it is rendered and on its way at once."""
    for first in range(0, len(page), _RECORDS_EACH):
        yield page[first : first + _RECORDS_EACH]


def _ending(query: ExportQuery) -> str:
    return query.format if query.format in {"csv", "ndjson"} else f"{query.format}.ndjson"
