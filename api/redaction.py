"""The operation that erases what one event tells, and every copy of it in the database.

One transaction: the fact, the event, its salt, the read tables, the answers that are kept for
keyed requests. Objects in the object store are no events, and stay.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field
from pydantic_core import from_json, to_json
from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import Problem, conflict, forbidden, not_found
from reactorcide.api.fields import RequestModel
from reactorcide.api.jobs.render import render_event
from reactorcide.eventstore import redactions, store
from reactorcide.eventstore.canonical import canonical
from reactorcide.eventstore.codec import EVENT_TYPES, CodecError, decode
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.events import REDACTED, AnyEvent, EventRedacted, JobSubmitted
from reactorcide.eventstore.domain.once import Make
from reactorcide.eventstore.domain.redaction import (
    REDACTION,
    RedactionState,
    check_ended,
    remains,
)
from reactorcide.eventstore.handle import TransactionDoor, handle
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.eventstore.store import InlineRows
from reactorcide.projections import idempotency, sealed_log
from reactorcide.projections.redacting import redact_rows

_LAST: Final = 2**63 - 1


class RedactRequest(RequestModel):
    """Why; it is recorded for good, so it should not repeat what is to be erased."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


async def redact(call: Call[RedactRequest, None]) -> Response:
    """Erase what an event tells; answer it as it is from now on."""
    if not call.caller.is_admin:
        raise forbidden(detail="Only an admin redacts events")
    text = call.request.path_params["position"]
    if not (text.isascii() and text.isdecimal() and int(text) <= _LAST):
        raise not_found(kind="event")
    async with call.services.pool.acquire() as connection, connection.transaction():
        event = await redactions.event_at(connection, int(text))
        if event is None:
            raise await _missing(connection, int(text))
        left = await _redact(connection, call, event)
    call.services.doorbell.ring("events")
    return json_answer(render_event(event._replace(data=left)))


async def _missing(connection: Connection, position: int) -> Problem:
    """Say why the log has no event at a position."""
    if await sealed_log.place_of(connection, position) is None:
        return not_found(kind="event")
    return conflict("The event is archived: it can't be redacted any more", "archived")


async def _redact(
    connection: Connection, call: Call[RedactRequest, None], event: RecordedEvent
) -> str:
    """Erase it everywhere; return what is left of its data. Raises Problem and NotLegal."""
    history = await _history(connection, event)
    left = remains(EVENT_TYPES[event.type], from_json(event.data), event.stream_id)
    await _record(connection, call, event, left)
    text = to_json(left).decode()
    if not await redactions.erase(connection, event.position, text):
        raise conflict("An event is redacted only once it is sealed", "not_sealed")
    await redact_rows(connection, event.stream_type, event.stream_id)
    first = history[0]
    if isinstance(first, JobSubmitted):

        def erase(body: str) -> str:
            return _without(body, event)

        await idempotency.redact(connection, first.user_id, event.stream_id, erase)
    return text


async def _history(connection: Connection, event: RecordedEvent) -> list[AnyEvent]:
    """Return all that its stream tells, if nobody needs it any more. Raises Problem, NotLegal."""
    try:
        history = [decode(one) for one in await store.read_stream(connection, event.stream_id)]
    except CodecError as error:
        raise conflict(str(error), "unknown") from error
    check_ended(history)
    return history


async def _record(
    connection: Connection,
    call: Call[RedactRequest, None],
    event: RecordedEvent,
    left: Mapping[str, Any],
) -> None:
    """Record who redacts it, and why. Raises NotLegal when somebody already has."""
    fact = EventRedacted(
        position=event.position,
        reason=call.body.reason,
        remaining_hash=sha256(canonical(left)).hexdigest(),
    )
    door = TransactionDoor[RedactionState](connection, lambda _: InlineRows("", ()))
    await handle(connection, door, REDACTION, event.event_id, Make(fact), call.context)


def _without(body: str, event: RecordedEvent) -> str:
    """Return an answer that shows the event's job, or many, without what the event told."""
    content = from_json(body)
    for shown in content.get("jobs", [content]):
        if shown["job_id"] != str(event.stream_id):
            continue
        if shown["last_error"] is not None:
            shown["last_error"] = REDACTED
        if event.type == JobSubmitted.wire_type:
            shown.update(_erased(shown, event.stream_id))
    return to_json(content).decode()


def _erased(shown: Mapping[str, Any], job_id: UUID) -> dict[str, Any]:
    """Return what stands for the request in a job that is shown."""
    request = {name: shown[name] for name in JobSubmitted.model_fields if name in shown}
    left = remains(JobSubmitted, request, job_id)
    gone: dict[str, Any] = {
        name: {} if isinstance(value, dict) and name != "args" else None
        for name, value in request.items()
        if name not in left
    }
    return left | gone | {"secret_env_vars": []}
