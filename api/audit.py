"""Operations of an audit: who did what, from where, newest first. Reads only."""

import asyncio
import base64
import binascii
import difflib
import re
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from reactorcide.api.call import Call, Caller, json_answer
from reactorcide.api.errors import forbidden, not_found
from reactorcide.api.exchange import REQUEST_ID
from reactorcide.api.fields import Id, RequestModel, Time, parse_uuid
from reactorcide.api.hashed import render_in_full
from reactorcide.api.jobs.render import render_event
from reactorcide.api.pages import PageQuery, QueryInt
from reactorcide.api.services import Services
from reactorcide.eventstore import store
from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.record import RecordedEvent, StreamType
from reactorcide.projections import archives, audit_events, checkpoints, endings
from reactorcide.projections.audit_events import AuditFilter, AuditPage
from reactorcide.projections.consequences import tree_of

ROLES: Final = frozenset({"auditor", "admin"})
_NO_ONE: Final = ("system", "anonymous")
_MOST_EVENTS: Final = 5000
"""Of one part of a tree."""
_LOOK_SECONDS: Final = 0.005
_CURSOR: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def cursor_of(number: int) -> str:
    """Return the opaque text of a position, or of another number."""
    return base64.urlsafe_b64encode(str(number).encode()).rstrip(b"=").decode()


def number_of(cursor: str) -> int:
    """Return the number of an opaque text. Raises PydanticCustomError when it is none of ours."""
    try:
        padding = "=" * (-len(cursor) % 4)
        text = base64.b64decode(cursor + padding, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if not _CURSOR.fullmatch(text) or cursor_of(int(text)) != cursor:
        code = "cursor"
        raise PydanticCustomError(code, "Must be a cursor that a list gave")
    return int(text)


def number_cursor(text: str) -> str:
    """Return a cursor that is one of ours. Raises PydanticCustomError."""
    number_of(text)
    return text


def _actor_of(value: Any) -> UUID | str:  # noqa: ANN401 - whatever the query held
    found = value if value in _NO_ONE else parse_uuid(str(value))
    if found is None:
        code, message = "actor", "Must be the id of a user, worker or token, system or anonymous"
        raise PydanticCustomError(code, message)
    return found


def _nearest(names: tuple[str, ...]) -> BeforeValidator:
    """Refuse what is none of the names, and say which one is nearest."""

    def check(value: Any) -> str:  # noqa: ANN401 - whatever the query held
        if value in names:
            return str(value)
        near = difflib.get_close_matches(str(value)[:100], names, n=1, cutoff=0.5)
        text = f"Unknown; did you mean {near[0]}?" if near else f"Unknown; one is {names[0]}"
        code = "unknown_name"
        raise PydanticCustomError(code, "{text}", {"text": text})

    return BeforeValidator(check)


def _ip_of(value: Any) -> IPv4Address | IPv6Address:  # noqa: ANN401 - whatever the query held
    try:
        found = ip_address(str(value))
    except ValueError:
        found = None
    if found is None or getattr(found, "scope_id", None):
        code = "ip"
        raise PydanticCustomError(code, "Must be an IPv4 or IPv6 address")
    return found


EVENT_NAMES: Final = tuple(sorted(EVENT_TYPES))
STREAM_NAMES: Final = get_args(StreamType)

Actor: TypeAlias = Annotated[
    UUID | Literal["system", "anonymous"],
    BeforeValidator(_actor_of),
    Field(description="The id of a user, worker or token; `system`; or `anonymous`"),
]
EventName: TypeAlias = Annotated[
    str, _nearest(EVENT_NAMES), Field(json_schema_extra={"enum": list(EVENT_NAMES)})
]
StreamName: TypeAlias = Annotated[
    str, _nearest(STREAM_NAMES), Field(json_schema_extra={"enum": list(STREAM_NAMES)})
]
Address: TypeAlias = Annotated[IPv4Address | IPv6Address, BeforeValidator(_ip_of)]


class AuditQuery(PageQuery):
    """Which events: those that pass all filters, `since` included and `until` not."""

    cursor: Annotated[str, AfterValidator(number_cursor)] | None = None
    actor: Actor | None = None
    type: EventName | None = None
    stream_id: Id | None = None
    stream_type: StreamName | None = None
    ip: Address | None = None
    request_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    outcome: Literal["success", "denied", "refused"] | None = None
    since: Time | None = None
    until: Time | None = None
    job_id: Annotated[Id, Field(description="The job whose log or artifacts were read")] | None = (
        None
    )

    hashes: Annotated[
        Literal["true", "false"], Field(description="Whether each event has its `payload_hash`")
    ] = "false"

    def wanted(self) -> AuditFilter:
        """Return it as the read side takes it."""
        return AuditFilter(**self.model_dump(exclude={"limit", "offset", "cursor", "hashes"}))


async def list_events(call: Call[None, AuditQuery]) -> Response:
    """List events of all streams, newest first; those just committed are among them."""
    check_role(call.caller)
    query, before = call.query, None
    if query.cursor is None:
        await catch_up(call.services)
    else:
        before = number_of(query.cursor)
    found = await _page(call, before)
    content = {
        "events": await _shown(call, found),
        "total": None,
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": None if found.next_before is None else cursor_of(found.next_before),
        "archived_until": await _archived_until(call.services, query),
    }
    return json_answer(content)


async def _archived_until(services: Services, query: AuditQuery) -> datetime | None:
    """Return up to when events may lack that pass: they are archived, and found by stream alone."""
    if query.stream_id is not None or _stays(query):
        return None
    until = await archives.newest(services.pool)
    is_before = until is not None and query.since is not None and until < query.since
    return None if is_before else until


def _stays(query: AuditQuery) -> bool:
    """Tell whether only streams are asked for that no archive takes."""
    kinds = {query.stream_type, query.type and query.type.partition(".")[0]} - {None}
    return bool(kinds) and endings.KINDS.isdisjoint(kinds)


async def _shown(call: Call[None, AuditQuery], found: AuditPage) -> list[dict[str, Any]]:
    if call.query.hashes == "true":
        return await render_in_full(call.services.pool, found.events)
    return [render_event(one) for one in found.events]


async def _page(call: Call[None, AuditQuery], before: int | None) -> AuditPage:
    """Return a page of the trail, or of the one archived stream that is asked for."""
    query, services = call.query, call.services
    wanted = query.wanted()
    archived: list[RecordedEvent] = []
    if wanted.stream_id is not None:
        archived = await archives.read_stream(services.pool, services.objects, wanted.stream_id)
    if not archived:
        return await audit_events.page(services.pool, wanted, before, query.limit, query.offset)
    passing = [
        event
        for event in reversed(archived)
        if wanted.passes(event) and (before is None or event.position < before)
    ][query.offset :]
    events = tuple(passing[: query.limit])
    return AuditPage(events, events[-1].position if len(passing) > query.limit else None)


class TreeQuery(RequestModel):
    """Which part of a request's tree: so many beginnings, with all that followed from them."""

    limit: Annotated[QueryInt, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, AfterValidator(number_cursor)] | None = None


async def show_request(call: Call[None, TreeQuery]) -> Response:
    """Show what a request did, oldest first, and below each event what followed from it."""
    check_role(call.caller)
    request_id, query, after = call.request.path_params["request"], call.query, 0
    if not REQUEST_ID.fullmatch(request_id.encode()):
        raise not_found(kind="request")
    if query.cursor is None:
        await catch_up(call.services)
    else:
        after = number_of(query.cursor)
    tree = await tree_of(call.services.pool, request_id, after, query.limit, _MOST_EVENTS)
    content = {
        "request_id": request_id,
        "events": [
            {**render_event(event), "caused_by": caused_by, "depth": depth}
            for event, caused_by, depth in tree.nodes
        ],
        "limit": query.limit,
        "next_cursor": None if tree.next_after is None else cursor_of(tree.next_after),
        "is_cut": tree.is_cut,
        "archived_until": await archives.newest(call.services.pool),
    }
    return json_answer(content)


def check_role(caller: Caller) -> None:
    """Refuse whoever may not see the trail. Raises Problem (403)."""
    if ROLES.isdisjoint(caller.roles):
        raise forbidden(detail="Only an auditor or admin sees the audit trail")


async def catch_up(services: Services, patience_seconds: float | None = None) -> None:
    """Wait a moment until what is committed by now is in the table; then take what is there."""
    name = audit_events.SUBSCRIPTION.name
    committed, _ = await store.present(services.pool)
    if await checkpoints.position(services.pool, name) >= committed:
        return
    services.doorbell.ring("events")  # whoever committed may not have
    clock = asyncio.get_running_loop().time
    if patience_seconds is None:
        patience_seconds = services.settings.trail_patience_seconds
    deadline = clock() + patience_seconds
    while clock() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        if await checkpoints.position(services.pool, name) >= committed:
            return
