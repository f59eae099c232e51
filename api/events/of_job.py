"""`GET /jobs/{id}/events` as a stream: what happened to a job, and what happens, to its end.

Ids are positions, as in `GET /events/stream`. Versions of one stream have no gaps, so it is read
on by version and needs no horizon.
"""

import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from reactorcide.api.call import Call
from reactorcide.api.events.stream import (
    EVENT_STREAM,
    HEADERS,
    RECHECK_SECONDS,
    RETRY,
    resume_point,
)
from reactorcide.api.events.telling import frame_of
from reactorcide.api.feed import Watch
from reactorcide.api.jobs.frames import HEARTBEAT, end_event
from reactorcide.eventstore import store
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job

_ENDINGS = frozenset(kind.wire_type for kind in jobs.ENDING)


async def follow_job(call: Call[Any, Any], job: Job) -> Response:
    """Return the stream. Raises Problem (422) for a Last-Event-ID that is none of ours."""
    after = await resume_point(call) or 0
    if call.request.method == "HEAD":
        return Response(headers=HEADERS, media_type=EVENT_STREAM)
    return StreamingResponse(_pieces(call, job, after), headers=HEADERS, media_type=EVENT_STREAM)


async def _pieces(call: Call[Any, Any], job: Job, after: int) -> AsyncIterator[bytes]:
    services = call.services
    history: list[RecordedEvent] = []
    yield RETRY
    with services.feed.watch(job.job_id) as watch:
        while True:
            fresh = _to_the_end(await store.read_stream(services.pool, job.job_id, len(history)))
            history += fresh
            if frames := b"".join(frame_of(one) for one in fresh if one.position > after):
                yield frames
            if fresh and fresh[-1].type in _ENDINGS:
                yield end_event(jobs.fold(history) or job)
                return
            async for beat in _until_news(call, watch):
                yield beat
            unchanged = await services.authenticator.is_unchanged(call.caller)
            if services.feed.is_closing or not unchanged:
                return


def _to_the_end(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """Return the events up to the one that ended the job, if it did."""
    ends = [nth for nth, event in enumerate(events, 1) if event.type in _ENDINGS]
    return events[: ends[0]] if ends else events


async def _until_news(call: Call[Any, Any], watch: Watch) -> AsyncIterator[bytes]:
    """Wait until there may be news, or the token opens something else; yield signs of life."""
    services = call.services
    spoke_at = time.monotonic()
    while not await watch.wait(RECHECK_SECONDS):
        if not await services.authenticator.is_unchanged(call.caller):
            return
        if time.monotonic() - spoke_at >= services.settings.heartbeat_seconds:
            spoke_at = time.monotonic()
            yield HEARTBEAT
