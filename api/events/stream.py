"""`GET /events/stream`: what happens, as server-sent events, over what the caller may see.

Nothing skipped, nothing twice: an event's id is its position, and a client that comes back with
it as Last-Event-ID goes on right behind. What lies back is read by pages of the stream's own, up
to the process's one watcher; from there on the watcher tells. The stream ends with the caller's
token or its rights, with the server, and for a client that reads too slowly.
"""

import re
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from reactorcide.api.call import Call
from reactorcide.api.errors import invalid_field
from reactorcide.api.events.sight import Sight
from reactorcide.api.events.telling import dropped, frame_of, heartbeat
from reactorcide.api.events.watcher import PAGE_EVENTS, Follower
from reactorcide.api.fields import RequestModel
from reactorcide.eventstore import store

EVENT_STREAM: Final = "text/event-stream"
RETRY: Final = b"retry: 1000\n\n"
HEADERS: Final = {"X-Accel-Buffering": "no"}
RECHECK_SECONDS: Final = 1.0

_POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_NEAR: Final = 1000
"""Positions: from here the rest fits into a few pages, read while the watcher tells already."""
_LEAST_SECONDS: Final = 0.01


def _position_of(value: Any) -> int:  # noqa: ANN401  whatever the query held
    if not isinstance(value, str) or not _POSITION.fullmatch(value):
        code = "position"
        raise PydanticCustomError(code, "Must be a position: digits alone")
    return int(value)


class StreamQuery(RequestModel):
    """Where to begin; without it: now."""

    after: (
        Annotated[
            int,
            BeforeValidator(_position_of),
            Field(json_schema_extra={"description": "A position in the log; 0: its beginning"}),
        ]
        | None
    ) = None


async def stream(call: Call[None, StreamQuery]) -> Response:
    """Answer with the stream. Raises Problem (422: the position is none, or to come; 503)."""
    after = await resume_point(call)
    if call.request.method == "HEAD":
        return Response(headers=HEADERS, media_type=EVENT_STREAM)
    follower = Follower(Sight.of(call.caller), call.services.settings.stream_buffer_bytes)
    await call.services.events.attach(follower)
    start = call.services.events.position if after is None else after
    return _Followed(_Stream(call, follower, start))


async def resume_point(call: Call[Any, Any]) -> int | None:
    """Return the position to go on behind; None: none is given. Raises Problem (422)."""
    given = call.request.headers.get("last-event-id")
    if given is None:
        position, pointer = getattr(call.query, "after", None), "/after"
    elif _POSITION.fullmatch(given):
        position, pointer = int(given), ""
    else:
        message = "Last-Event-ID must be a position: digits alone"
        raise invalid_field(pointer="", code="last_event_id", message=message)
    if position:
        latest, _ = await store.present(call.services.pool)
        if position > latest:
            message = f"Lies in the future: the last position is {latest}"
            raise invalid_field(pointer, code="in_the_future", message=message)
    return position


class _Stream:
    """One client's stream: where it stands, and when it last spoke."""

    def __init__(self, call: Call[None, StreamQuery], follower: Follower, start: int) -> None:
        self.follower = follower
        self.watcher = call.services.events
        self._services = call.services
        self._caller = call.caller
        self._sent = start
        self._beat_seconds = max(call.services.settings.heartbeat_seconds, _LEAST_SECONDS)
        self._spoke_at = self._sure_at = time.monotonic()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the stream's bytes."""
        yield RETRY + heartbeat(self._sent)
        while self.watcher.position - self._sent > _NEAR:
            if not await self._may_go_on():
                return
            if piece := await self._page(self.watcher.position):
                yield piece
        # Told from here on, so that the last pages are of a log that grows no more.
        joined_at = max(self.watcher.position, self._sent)
        self.follower.join(joined_at)
        while self._sent < joined_at:
            if piece := await self._page(joined_at):
                yield piece
        async for piece in self._as_told():
            yield piece

    async def _as_told(self) -> AsyncGenerator[bytes]:
        while await self._may_go_on():
            if self.follower.is_dropped:
                yield dropped(self._sent)
                return
            frames, self._sent = self.follower.take()
            if piece := frames or self._beat():
                self._spoke_at = time.monotonic()
                yield piece
            else:
                left = self._spoke_at + self._beat_seconds - time.monotonic()
                await self.follower.wait(min(max(left, _LEAST_SECONDS), RECHECK_SECONDS))

    async def _page(self, until: int) -> bytes:
        """Return the next page of the log up to `until`, as far as it may be seen."""
        events = await store.read_all(self._services.pool, self._sent, until, PAGE_EVENTS)
        sight = self.follower.sight
        owners = await self.watcher.owners.of(events) if sight.needs_owners else {}
        frames = [frame_of(one) for one in events if sight.sees(one, owners.get(one.stream_id))]
        self._sent = events[-1].position if len(events) == PAGE_EVENTS else until
        if frames:
            self._spoke_at = time.monotonic()
        return b"".join(frames) or self._beat()

    def _beat(self) -> bytes:
        """Return a sign of life when it is time for one."""
        now = time.monotonic()
        if now - self._spoke_at < self._beat_seconds:
            return b""
        self._spoke_at = now
        return heartbeat(self._sent)

    async def _may_go_on(self) -> bool:
        """Tell whether the server goes on and the caller may still see what it saw."""
        now = time.monotonic()
        if self.follower.is_in_doubt or now - self._sure_at >= RECHECK_SECONDS:
            self.follower.is_in_doubt, self._sure_at = False, now
            if not await self._services.authenticator.is_unchanged(self._caller):
                return False
        return not self.watcher.is_closing


class _Followed(StreamingResponse):
    """The answer; whatever becomes of it, nothing is kept for it afterwards."""

    def __init__(self, followed: _Stream) -> None:
        self._followed = followed
        self._pieces = followed.pieces()
        super().__init__(self._pieces, headers=HEADERS, media_type=EVENT_STREAM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._followed.watcher.detach(self._followed.follower)
            await self._pieces.aclose()
