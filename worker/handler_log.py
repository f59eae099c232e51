"""What a running handler logs, on its way to its job's log: lines, in batches, numbered.

Which attempt a line belongs to is known by a context variable; the lines themselves come through
a structlog processor. Nothing is made for a handler that logs nothing.
"""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger

from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.worker.coordinator import AttemptKey, Chunk, CoordinatorUnavailable
from reactorcide.worker.log_cap import LogCap
from reactorcide.worker.runner import Stream

LATEST_SECONDS: Final = 0.2
"""A line waits no longer than this for others."""

_BATCH_BYTES: Final = 64 * 1024
_WAITING_BYTES: Final = 4 * 1024 * 1024
_PAUSE_SECONDS: Final = 0.2
_OF_THE_WORKER: Final = frozenset(
    {"event", "level", "timestamp", "logger", "job_id", "attempt", "worker_id", "queue_name"}
    | {"exception", "exc_info"}
)


class LogDoor(Protocol):
    """The part of a coordinator that takes what was logged."""

    async def log(self, key: AttemptKey, chunks: Sequence[Chunk]) -> None:
        """Keep what was logged. May be repeated. Raises NotLeaseHolder."""


class Logged(Protocol):
    """A running attempt that has a log."""

    @property
    def key(self) -> AttemptKey:
        """Which attempt it is."""
        ...

    def write(self, stream: Stream, text: str) -> None:
        """Add to the job's log, from any thread."""


RUNNING: Final[contextvars.ContextVar[Logged | None]] = contextvars.ContextVar(
    "running_handler", default=None
)
"""The attempt whose handler runs in this context; inherited by tasks that it starts."""


def keep_in_job_log(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Give a line its job and attempt, and the job a copy. A structlog processor."""
    running = RUNNING.get()
    if running is not None:
        line["job_id"], line["attempt"] = str(running.key.job_id), running.key.attempt
        running.write("stdout", text_of(line))
    return line


def text_of(line: EventDict) -> str:
    """Return a log line for people: level, event, the other values; a traceback below it."""
    words = [f"{line.get('level', 'info')}: {line.get('event', '')}"]
    words += [f"{key}={value!r}" for key, value in line.items() if key not in _OF_THE_WORKER]
    text = " ".join(words)
    if line.get("exc_info"):
        found = format_exc_info(None, "", {"exc_info": line["exc_info"]})
        text += f"\n{found.get('exception', '')}"
    return text + "\n"


class JobLog:
    """The lines of one attempt. `write` may come from any thread, the rest from the loop's.

    What is more than 4 MiB ahead of the coordinator is dropped, and a line says so.
    """

    def __init__(self, door: LogDoor, key: AttemptKey, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._key = key
        self._loop = loop
        # Sending must not log into the job's log again, so it runs in a context of its own.
        self._context = contextvars.Context()
        self._pieces: list[tuple[Stream, datetime, bytes]] = []
        self._bytes = 0
        self._dropped = 0
        self._seq = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False
        self._cap = LogCap()

    def write(self, stream: Stream, text: str) -> None:
        """Take some text; it is sent within LATEST_SECONDS if the coordinator answers."""
        data, at = text.encode("utf-8", "replace"), datetime.now(UTC)
        if _running_loop() is self._loop:
            self._add(stream, at, data)
        else:
            with contextlib.suppress(RuntimeError):  # a thread that outlives the loop
                self._loop.call_soon_threadsafe(self._add, stream, at, data)

    async def finish(self) -> None:
        """Send what is left, until it is taken or the lease is lost; later text is ignored."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sender is not None:
            await self._sender  # cancelled with us, if we are
        if self._pieces or self._dropped:
            await self._loop.create_task(self._send_all(), context=self._context)

    def _add(self, stream: Stream, at: datetime, data: bytes) -> None:
        if self._is_closed or self._cap.is_full:
            return
        if self._bytes + len(data) > _WAITING_BYTES:
            self._dropped += 1
            return
        kept, mark = self._cap.cut(data)
        if kept:
            self._pieces.append((stream, at, kept))
            self._bytes += len(kept)
        if mark:
            self._pieces.append(("stderr", at, mark))
        if self._bytes >= _BATCH_BYTES:
            self._begin()
        elif self._timer is None:
            self._timer = self._loop.call_later(LATEST_SECONDS, self._begin, context=self._context)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sender is None and not self._is_closed:
            self._sender = self._loop.create_task(self._send_all(), context=self._context)
            self._sender.add_done_callback(self._sent)

    def _sent(self, sender: "asyncio.Task[None]") -> None:
        # What it raised is raised by `finish`, which waits for it.
        if sender.cancelled() or sender.exception() is None:
            self._sender = None

    async def _send_all(self) -> None:
        while self._pieces or self._dropped:
            pieces, dropped = self._pieces, self._dropped
            self._pieces, self._bytes, self._dropped = [], 0, 0
            if dropped:
                words = f"{dropped} lines were dropped: they came faster than they could be kept\n"
                pieces.append(("stderr", datetime.now(UTC), words.encode()))
            await self._send(self._chunks_of(pieces))

    def _chunks_of(self, pieces: Sequence[tuple[Stream, datetime, bytes]]) -> list[Chunk]:
        """Return one chunk for all that follows each other on one stream, up to a batch's size."""
        chunks: list[Chunk] = []
        for stream, at, data in pieces:
            last = chunks[-1] if chunks else None
            if last and last.stream == stream and len(last.data) + len(data) <= _BATCH_BYTES:
                chunks[-1] = last._replace(data=last.data + data)
            else:
                self._seq += 1
                chunks.append(Chunk(self._seq, stream, at, data))
        return chunks

    async def _send(self, chunks: Sequence[Chunk]) -> None:
        """Send until it is taken, or the lease is lost."""
        while True:
            try:
                await self._door.log(self._key, chunks)
            except NotLeaseHolder:
                self._is_closed = True
            except CoordinatorUnavailable:
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  jitter
                continue
            return


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
