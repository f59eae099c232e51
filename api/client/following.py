"""A stream of server-sent events, taken up where it broke. A program: opens nothing itself.

The parser follows WHATWG HTML, section 9.2; the API ends lines with LF. A stream that breaks is
asked for again with Last-Event-ID, so that nothing is missed and nothing comes twice.
"""

import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from reactorcide.api.client.errors import NotEnded, RateLimited, Refused, Unavailable, error_of
from reactorcide.api.client.steps import Lost, Open, Pause, Program, Read, Request

# The API gives a sign of life every 15 s.
_SILENT_SECONDS: Final = 45.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_LEAST_SECONDS: Final = 0.001
_OVERRUN_SECONDS: Final = 1.0


class ServerSentEvent(NamedTuple):
    """One event; `id` is its own."""

    type: str
    data: str
    id: str | None


@dataclass(slots=True)
class Parser:
    """Takes a stream's bytes in pieces; gives its events."""

    _rest: bytes = b""
    _type: str = "message"
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that the piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").decode("utf-8", "replace").partition(":")
            text = value.removeprefix(" ")
            match name:
                case "event":
                    self._type = text
                case "data":
                    self._data.append(text)
                case "id":
                    self._id = text
                case "" if line in {b"", b"\r"}:
                    yield from self._event()
                case _:  # a comment, or a field of no use here
                    pass

    def _event(self) -> Iterator[ServerSentEvent]:
        if self._data:
            yield ServerSentEvent(self._type, "\n".join(self._data), self._id)
        self._type, self._data, self._id = "message", [], None


class EventStream:
    """The events of one request, over as many connections as it takes.

    Gives up after `timeout_seconds` without a connection (Unavailable), and when `wait_seconds`
    are over (NotEnded).
    """

    def __init__(
        self, request: Request, timeout_seconds: float, wait_seconds: float | None = None
    ) -> None:
        self._request = request
        self._timeout_seconds = timeout_seconds
        self._wait_seconds = wait_seconds
        self._deadline = None if wait_seconds is None else time.monotonic() + wait_seconds
        self._parser: Parser | None = None
        self._silent_seconds = _SILENT_SECONDS
        self._opened_at = 0.0
        self._events = deque[ServerSentEvent]()
        self._lost_at: float | None = None
        self._losses = 0

    def next(self) -> Program[ServerSentEvent]:
        """Return the next event. Raises Unavailable, Refused, NotEnded."""
        while not self._events:
            if self._parser is None:
                yield from self._open()
            else:
                yield from self._read(self._parser)
        event = self._events.popleft()
        if event.id is not None:
            self.resume_after(event.id)
        return event

    def resume_after(self, event_id: str) -> None:
        """Go on behind this event when the stream breaks."""
        headers = {**self._request.headers, "Last-Event-ID": event_id}
        self._request = replace(self._request, headers=headers)

    def rest(self, seconds: float) -> Program[None]:
        """Pause, at most until the deadline. Raises NotEnded behind it."""
        yield Pause(min(seconds, self._patience()))

    def _open(self) -> Program[None]:
        self._silent_seconds, self._opened_at = self._patience(), time.monotonic()
        timeout = min(self._timeout_seconds, self._silent_seconds)
        reply = yield Open(self._request, timeout, self._silent_seconds)
        match error_of(reply):
            case None:
                self._parser = Parser()
            case Unavailable() | RateLimited() as error:
                yield from self._again(error)
            case Refused() as error:
                raise error

    def _read(self, parser: Parser) -> Program[None]:
        reply = yield Read()
        if isinstance(reply, Lost) or not reply.content:
            self._parser = None
            reason = reply.reason if isinstance(reply, Lost) else "the stream ended too early"
            yield from self._again(Unavailable(reason))
            return
        self._lost_at, self._losses = None, 0
        self._events.extend(parser.feed(reply.content))
        is_old = time.monotonic() - self._opened_at > _OVERRUN_SECONDS
        if is_old and not self._events and self._patience() < self._silent_seconds:
            self._parser = None  # to be opened again, with less patience

    def _again(self, error: Unavailable | RateLimited) -> Program[None]:
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at > self._timeout_seconds:
            raise error
        longest = min(_FIRST_PAUSE_SECONDS * 2**self._losses, _LONGEST_PAUSE_SECONDS)
        self._losses += 1
        jitter = random.uniform(0, longest)  # noqa: S311 - jitter
        yield from self.rest((error.retry_after_seconds or 0.0) + jitter)

    def _patience(self) -> float:
        """Return for how many seconds the stream may be silent now. Raises NotEnded."""
        if self._deadline is None or self._wait_seconds is None:
            return _SILENT_SECONDS
        left = self._deadline - time.monotonic()
        if left < _LEAST_SECONDS:
            raise NotEnded(self._wait_seconds)
        return min(left, _SILENT_SECONDS)
