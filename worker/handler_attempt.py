"""One attempt of a job that names a handler: find it, call it, and say how that ended, as a value.

The path of a function that logs nothing and returns nothing is kept short on purpose: no task,
no timer, no thread, no line of the worker's log. Timeouts and reports are the caller's.
"""

import asyncio
import contextvars
import inspect
import re
import traceback
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Final, NamedTuple

import structlog
from pydantic import JsonValue
from pydantic_core import from_json, to_json

from reactorcide.eventstore.domain.job import Completed, Failed, Outcome
from reactorcide.worker import handler_threads
from reactorcide.worker.coordinator import ClaimedAttempt
from reactorcide.worker.handler_log import RUNNING, LogDoor
from reactorcide.worker.handler_threads import HandlerThreads
from reactorcide.worker.handlers import Attempt, Handler, Handlers

RESULT_BYTES: Final = 64 * 1024
ERROR_LETTERS: Final = 2000

_TRACEBACK_LINES: Final = 60
_LAST_WORDS_SECONDS: Final = 2.0
"""How long a cancelled attempt may take to send what its handler has logged."""

_OUR_FILES: Final = frozenset({__file__, handler_threads.__file__})
_NOTHING: Final = Completed(None, None)
_NULL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_log = structlog.get_logger(__name__)


class Calling(NamedTuple):
    """What the handlers of one worker are called with."""

    handlers: Handlers
    door: LogDoor
    threads: HandlerThreads
    grace_seconds: float
    loop: asyncio.AbstractEventLoop
    """Where they run; to ask for it each time takes as long as to call one."""


async def call_handler(claimed: ClaimedAttempt, calling: Calling) -> Outcome:
    """Call the job's handler; return how that ended, once all that it logged has been sent.

    Whatever the handler raises is an outcome. Cancelled, this raises CancelledError when the
    function has ended: an async one is cancelled likewise, one in a thread is asked by
    `is_cancelled` and left behind after `grace_seconds`, or at the second cancellation. The task
    may go on with other attempts afterwards, once it has called its own `uncancel`; until then
    what it logs itself may go to this attempt's log.
    """
    handlers, door, threads, grace_seconds, loop = calling
    handler = handlers.by_name.get(claimed.submitted.handler or "")
    if handler is None:
        return Failed(None, handlers.missing(claimed.submitted.handler))
    attempt = Attempt(claimed, door, loop)
    RUNNING.set(attempt)
    args = claimed.args
    try:
        if not handler.is_async:
            result = await _in_thread(handler, args, attempt, threads, grace_seconds)
        elif handler.takes_attempt:
            result = await handler.function(args, attempt)  # type: ignore[misc]  # it is async
        else:
            result = await handler.function(args)  # type: ignore[misc]  # as above
        outcome = _NOTHING if result is None else completed(handler.name, result)
    except asyncio.CancelledError as error:
        if _is_asked_to_stop():
            await _send_last_words(attempt)
            raise
        outcome = _failed(attempt, error)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  the edge of an attempt, as `attempt`'s
        outcome = _failed(attempt, error)
    if attempt.job_log is not None:
        RUNNING.set(None)
        await attempt.job_log.finish()
    return outcome


def completed(name: str, result: object) -> Outcome:
    """Return the outcome of a handler that returned `result`: it must be JSON, and not too much.

    What has a natural form in JSON takes it: tuples, dates, dataclasses, pydantic's models.
    """
    try:
        text = to_json(result)
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        return Failed(None, _bounded(f"what {name!r} returned is no JSON: {error}"))
    if len(text) > RESULT_BYTES:
        return Failed(
            None,
            f"the result of {name!r} has {len(text)} bytes as JSON, "
            f"at most {RESULT_BYTES} are kept",
        )
    if b"\\u0000" in text and _NULL.search(text):
        return Failed(None, f"the result of {name!r} holds \\u0000, which can't be kept")
    return Completed(value, None)


async def _in_thread(
    handler: Handler,
    args: JsonValue,
    attempt: Attempt,
    threads: HandlerThreads,
    grace_seconds: float,
) -> object:
    given = (args, attempt) if handler.takes_attempt else (args,)
    context = contextvars.copy_context()  # so that its log lines find their job
    call = threads.start(partial(context.run, handler.function, *given))
    ended = asyncio.wrap_future(call)
    try:
        await asyncio.wait((ended,))
    except asyncio.CancelledError:
        attempt.is_cancelled = True
        await _leave(call, ended, attempt, grace_seconds)
        raise
    result = ended.result()
    # A coroutine function in a plain wrapper looks like any other function.
    return await result if inspect.isawaitable(result) else result


async def _leave(
    call: "Future[object]",
    ended: "asyncio.Future[object]",
    attempt: Attempt,
    grace_seconds: float,
) -> None:
    """Wait for a function that was asked to stop; it can't be made to."""
    if call.cancel():  # no thread has taken it yet
        return
    try:
        await asyncio.wait((ended,), timeout=grace_seconds)
    finally:
        if ended.done():
            ended.cancelled() or ended.exception()  # seen: it is not reported
        else:
            ended.cancel()
            job_id, number = attempt.key
            _log.warning("handler_left_behind", job_id=str(job_id), attempt=number)


async def _send_last_words(attempt: Attempt) -> None:
    """Send what was logged before a cancellation, unless that takes long."""
    RUNNING.set(None)
    if attempt.job_log is not None:
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await attempt.job_log.finish()
        except TimeoutError:
            _log.warning("handler_log_cut_off", job_id=str(attempt.job_id))


def _is_asked_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failed(attempt: Attempt, error: BaseException) -> Failed:
    """Return the outcome of a handler that raised; the traceback goes to the job's log."""
    shown = _without_ours(error.__traceback__)
    lines = "".join(traceback.format_exception(type(error), error, shown)).splitlines()
    attempt.write("stderr", "\n".join(lines[-_TRACEBACK_LINES:]) + "\n")
    kind = type(error).__name__
    text = _words_of(error)
    return Failed(None, _bounded(f"{kind}: {text}" if text else kind))


def _without_ours(shown: TracebackType | None) -> TracebackType | None:
    """Return the traceback from where the handler begins."""
    while shown is not None and shown.tb_frame.f_code.co_filename in _OUR_FILES:
        shown = shown.tb_next
    return shown


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a __str__ of somebody else's
        return "its message can't be shown"


def _bounded(text: str) -> str:
    """Return text that JSON and PostgreSQL can hold and a terminal can show."""
    shown = text if len(text) <= ERROR_LETTERS else text[: ERROR_LETTERS - 1] + "…"
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in shown
    )
