"""The operation that erases what one event tells, and every copy of it in the database.

One transaction: the fact, the event, its salt, the read tables, the answers that are kept for
keyed requests. Of an archived event the archive object is another one afterwards; other objects
in the object store are no events, and stay.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from pydantic import Field
from pydantic_core import from_json, to_json
from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import conflict, forbidden, not_found, unavailable
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
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.objects import ObjectStoreError
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import archive_redacting, archives, idempotency, sealed_log
from reactorcide.projections.redacting import redact_rows

_LAST: Final = 2**63 - 1

_log = structlog.stdlib.get_logger("reactorcide.api")


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
    position = int(text)
    async with call.services.pool.acquire() as connection, connection.transaction():
        event = await redactions.event_at(connection, position)
        left = None if event is None else await _redact(connection, call, event)
    if event is None or left is None:
        event, left = await _redact_archived(call, position)
    call.services.doorbell.ring("events")
    return json_answer(render_event(event._replace(data=left)))


async def _redact(
    connection: Connection, call: Call[RedactRequest, None], event: RecordedEvent
) -> str:
    """Erase it everywhere; return what is left of its data. Raises Problem and NotLegal."""
    history = _known(await store.read_stream(connection, event.stream_id))
    fact, text = _erasure(call, event)
    await _record(connection, call, event, fact)
    if not await redactions.erase(connection, event.position, text):
        raise conflict("An event is redacted only once it is sealed", "not_sealed")
    if await redactions.event_at(connection, event.position) is None:
        raise unavailable("The event has just been archived: try again")
    await redact_rows(connection, event.stream_type, event.stream_id)
    await _redact_answers(connection, event, history[0])
    return text


async def _redact_archived(
    call: Call[RedactRequest, None], position: int
) -> tuple[RecordedEvent, str]:
    """Erase an event that is in the archive; return it, and what is left of its data."""
    pool, objects = call.services.pool, call.services.objects
    if await sealed_log.place_of(pool, position) is None:
        raise not_found(kind="event")
    key = await archive_redacting.noted_key(pool)
    async with pool.acquire() as connection, connection.transaction():
        if not await archives.take(connection):
            raise unavailable("The archive is being verified, bundled or added to: try again later")
        found = await archive_redacting.find(connection, objects, position)
        if found is None:
            raise not_found(kind="event")
        event, history = found.event, _known(found.history)
        if found.is_redacted:
            raise conflict("The event is redacted already", "redacted")
        fact, text = _erasure(call, event)
        made = await archive_redacting.write(objects, found, key, text)
        await _record(connection, call, event, fact.model_copy(update=made.named()))
        await redactions.erase(connection, position, text)
        await archive_redacting.point_at(connection, found, made)
        await _redact_answers(connection, event, history[0])
    try:
        await archive_redacting.delete_old(pool, objects, found)
    except ObjectStoreError as error:  # it is erased from the log, and the note sees to the rest
        _log.warning("archive_object_left", key=found.block.object_key, detail=error.detail)
    return event, text


def _known(recorded: Sequence[RecordedEvent]) -> list[AnyEvent]:
    """Return all that a stream tells, if nobody needs it any more. Raises Problem, NotLegal."""
    try:
        history = [decode(one) for one in recorded]
    except CodecError as error:
        raise conflict(str(error), "unknown") from error
    check_ended(history)
    return history


def _erasure(call: Call[RedactRequest, None], event: RecordedEvent) -> tuple[EventRedacted, str]:
    """Return the fact, and what is left of the event's data, as JSON text."""
    left = remains(EVENT_TYPES[event.type], from_json(event.data), event.stream_id)
    fact = EventRedacted(
        position=event.position,
        reason=call.body.reason,
        remaining_hash=sha256(canonical(left)).hexdigest(),
    )
    return fact, to_json(left).decode()


async def _record(
    connection: Connection,
    call: Call[RedactRequest, None],
    event: RecordedEvent,
    fact: EventRedacted,
) -> None:
    """Record who redacts it, and why. Raises NotLegal when somebody already has."""
    door = TransactionDoor[RedactionState](connection, lambda _: InlineRows("", ()))
    await handle(connection, door, REDACTION, event.event_id, Make(fact), call.context)


async def _redact_answers(connection: Connection, event: RecordedEvent, first: AnyEvent) -> None:
    """Erase it from the answers that are kept for the requests of a job's owner."""
    if not isinstance(first, JobSubmitted):
        return

    def erase(body: str) -> str:
        return _without(body, event)

    await idempotency.redact(connection, first.user_id, event.stream_id, erase)


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
