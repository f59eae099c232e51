"""A log followed to the end of its job, as server-sent events.

Nothing skipped, nothing twice: every event's id is its place, `<attempt>-<seq>`, and a client
that comes back with it as `Last-Event-ID` goes on right behind. The stream ends with the job,
with the caller's token, or with the server.
"""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from starlette.responses import StreamingResponse

from reactorcide.api.call import Call
from reactorcide.api.errors import invalid_field
from reactorcide.api.feed import Watch
from reactorcide.api.jobs.frames import HEARTBEAT, end_event, log_event
from reactorcide.eventstore.domain.job import FINAL, HELD
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job
from reactorcide.projections.log_chunks import Part

if TYPE_CHECKING:
    from reactorcide.api.jobs.logs import LogQuery

EVENT_STREAM: Final = "text/event-stream"
_HEADERS: Final = {"X-Accel-Buffering": "no"}
_PLACE: Final = re.compile(r"(\d{1,9})-(\d{1,9})", re.ASCII)
_RECHECK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Place:
    """What is followed, and up to where it was sent."""

    part: Part
    after: tuple[int, int]


def follow(call: "Call[None, LogQuery]", job: Job) -> StreamingResponse:
    """Return the stream. Raises Problem (422) for a Last-Event-ID that is none of ours."""
    query = call.query
    part = query.part_of(job)
    if query.attempt is None:
        part = replace(part, attempt=None)  # and those that follow
    after = _last_event(call) or (job.state.attempt if query.attempt is None else 0, 0)
    stream = _events(call, job, _Place(part, after))
    return StreamingResponse(stream, headers=_HEADERS, media_type=EVENT_STREAM)


def _last_event(call: "Call[None, LogQuery]") -> tuple[int, int] | None:
    given = call.request.headers.get("last-event-id")
    if given is None:
        return None
    found = _PLACE.fullmatch(given)
    if found is None:
        message = "Last-Event-ID must be <attempt>-<seq>"
        raise invalid_field(pointer="", code="last_event_id", message=message)
    return int(found[1]), int(found[2])


async def _events(call: "Call[None, LogQuery]", job: Job, place: _Place) -> AsyncIterator[bytes]:
    services = call.services
    yield b"retry: 1000\n\n"
    with services.feed.watch(job.job_id) as watch:
        if call.query.tail is not None and call.request.headers.get("last-event-id") is None:
            tail_part = call.query.part_of(job)
            for chunk in await services.logs.tail(tail_part, call.query.tail):
                yield log_event(chunk)
                place = replace(place, after=(chunk.attempt, chunk.seq))
        while True:
            # The status first: nothing is added to a log after its attempt's outcome.
            current = await jobs.get(services.pool, job.job_id)
            while found := await services.logs.read(place.part, place.after):
                for chunk in found:
                    yield log_event(chunk)
                place = replace(place, after=(found[-1].attempt, found[-1].seq))
            if current is None or _is_over(current, place.part):
                yield end_event(current or job)
                return
            async for beat in _until_news(call, watch):
                yield beat
            if services.feed.is_closing or not await services.authenticator.still_holds(
                call.caller
            ):
                return


async def _until_news(call: "Call[None, LogQuery]", watch: Watch) -> AsyncIterator[bytes]:
    """Wait until there may be news, or the token no longer holds; yield signs of life."""
    services = call.services
    spoken = time.monotonic()
    while not await watch.wait(_RECHECK_SECONDS):
        if not await services.authenticator.still_holds(call.caller):
            return
        if time.monotonic() - spoken >= services.settings.heartbeat_seconds:
            spoken = time.monotonic()
            yield HEARTBEAT


def _is_over(job: Job, part: Part) -> bool:
    """Tell whether nothing can follow: the job ended, or the one attempt asked for did."""
    state = job.state
    if state.status in FINAL or part.attempt is None:
        return state.status in FINAL
    return state.attempt > part.attempt or (
        state.attempt == part.attempt and state.status not in HELD
    )
