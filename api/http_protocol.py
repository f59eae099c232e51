"""HTTP/1.1 with a guard at the door: a request comes soon, its head is small, or the line is cut.

uvicorn itself waits for ever for the first head, for every body and for whoever takes nothing of
its answer, and takes a head of any size. What it cannot read is refused in the shape of all other
errors.
"""

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from reactorcide.api.errors import Problem, malformed_request, request_timeout, too_large
from reactorcide.eventstore.ids import new_id

MAX_HEAD_BYTES: Final = 64 * 1024
_LAST_SECONDS: Final = 0.5


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = 10.0
    body_seconds = 30.0
    stalled_seconds = 30.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._awaits_head = True
        self._body_timer: asyncio.TimerHandle | None = None
        self._awaits_body = False
        self._stall_timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._head_is_here()
        self._body_is_here()
        self._stall_is_over()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. Timers run only for what did not come at one go, as most requests do."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._awaits_head:
            self._await_head()
        elif self._awaits_body and self._body_timer is None:
            self._body_timer = self.loop.call_later(self.body_seconds, self._body_is_late)

    def on_message_begin(self) -> None:
        """Expect the rest of a head that has begun."""
        super().on_message_begin()
        self._awaits_head = True

    def on_headers_complete(self) -> None:
        """Let the request in."""
        self._head_is_here()
        self._awaits_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._body_is_here()
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Expect the next request for some time.

        One timer looks from time to time: to make and cancel one for each request costs more than
        to read its head.
        """
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Let the timer run: it will see that there was another request."""
        self._idle_since = None

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self._look_at_idleness)

    def _look_at_idleness(self) -> None:
        """Cut the line if nothing has come for long; look again when that might be so."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_in(left)
        else:
            self.timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Give a client that takes nothing some time."""
        super().pause_writing()
        self._await_taking(self.stalled_seconds)

    def resume_writing(self) -> None:
        """Expect it to go on."""
        self._stall_is_over()
        super().resume_writing()

    def shutdown(self) -> None:
        """Let no client that takes nothing hold up the end."""
        if self._stall_timer is not None:
            self._await_taking(min(self.stalled_seconds, _LAST_SECONDS))
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(malformed_request(msg, code="http_invalid"))

    def _await_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(too_large(MAX_HEAD_BYTES))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _head_is_here(self) -> None:
        self._awaits_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(request_timeout(self.head_seconds, what="head"))

    def _body_is_here(self) -> None:
        self._awaits_body = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _body_is_late(self) -> None:
        """Refuse, unless an answer is under way; the app finds that the client has gone."""
        self._body_timer = None
        cycle = self.cycle
        if cycle.response_complete:
            self.transport.close()
        if self.transport.is_closing() or cycle.response_started:
            return
        cycle.disconnected = True
        cycle.message_event.set()
        self._refuse(request_timeout(self.body_seconds))

    def _await_taking(self, seconds: float) -> None:
        """Cut the line unless the client takes something in time, and so on until it has all."""
        self._stall_is_over()
        unsent = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(seconds, self._look_at_taking, seconds, unsent)

    def _look_at_taking(self, seconds: float, unsent: int) -> None:
        if self.transport.get_write_buffer_size() < unsent:
            self._await_taking(seconds)
        else:
            self.transport.abort()

    def _stall_is_over(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _refuse(self, problem: Problem) -> None:
        """Answer and close: what follows on this line cannot be understood."""
        self._head_is_here()
        request_id = str(new_id())
        body = problem.body("/", request_id)
        head = (
            f"HTTP/1.1 {problem.status} {problem.phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
