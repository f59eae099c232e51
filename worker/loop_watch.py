"""Notices that something holds the event loop, and says which handler: from a thread of its own.

Costs the attempts nothing: who runs is looked up in the loop's stack, when it has stood still.
It only reports; nothing is stopped.
"""

import asyncio
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, Final, Self

import structlog

from reactorcide.worker.coordinator import ClaimedAttempt
from reactorcide.worker.handler_attempt import call_handler

BLOCKED_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
_FRAMES: Final = 5

_log = structlog.get_logger(__name__)


class LoopWatch:
    """Watches the running loop within a `with` block.

    `event_loop_blocked` once when it has not turned for `blocked_seconds`, with the handler, job
    and attempt that hold it and the innermost frames; `event_loop_free_again` with how long.
    Code that keeps the interpreter's lock to itself is noticed when it gives it back, nameless.
    """

    def __init__(self, blocked_seconds: float = BLOCKED_SECONDS) -> None:
        self._blocked_seconds = blocked_seconds
        self._closed = threading.Event()
        self._turned = threading.Event()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._watch = threading.Thread(target=self._run, name="loop-watch", daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._turned.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._closed.wait(min(_LOOK_SECONDS, self._blocked_seconds)):
            self._turned.clear()
            asked_at = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # the loop is closed
                return
            if self._closed.is_set():
                return
            if not self._turned.wait(self._blocked_seconds):
                self._report(asked_at)

    def _report(self, asked_at: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  the documented way
        who = _holder(frame)
        # Not called `stack`: on a terminal that is taken for text, and this thread would end.
        _log.warning("event_loop_blocked", **who, stands_at=_innermost(frame))
        del frame  # or all that its functions hold would live on
        self._turned.wait()
        seconds = round(time.monotonic() - asked_at, 3)
        _log.warning("event_loop_free_again", **who, seconds=seconds)


def _holder(frame: FrameType | None) -> dict[str, Any]:
    """Return whose attempt is on the stack; {} when none is."""
    while frame is not None:
        if frame.f_code is call_handler.__code__:
            claimed = frame.f_locals.get("claimed")
            if isinstance(claimed, ClaimedAttempt):
                key = claimed.key
                name = claimed.submitted.handler
                return {"handler": name, "job_id": str(key.job_id), "attempt": key.attempt}
        frame = frame.f_back
    return {}


def _innermost(frame: FrameType | None) -> list[str]:
    """Return where the loop's thread is, innermost first."""
    places = traceback.extract_stack(frame) if frame is not None else []
    return [f"{one.filename}:{one.lineno} {one.name}" for one in reversed(places[-_FRAMES:])]
