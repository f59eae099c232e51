"""Handlers as a service would have them, for the tests; some misbehave."""

import asyncio
import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import structlog

from reactorcide.worker.handlers import Attempt, handler

GO: Final = threading.Event()
"""Lets the handlers that wait in a thread, or hold the event loop, go on."""

CALLED: Final[list[Any]] = []
"""The args of those that keep a record, in the order of their calls."""

_log = structlog.get_logger("app")


@handler("test.echo")
async def echo(args: Any) -> Any:
    """Give back what was given."""
    return args


@handler("test.nothing")
async def nothing(_args: Any) -> None:
    """Do nothing: what every other handler costs at least."""


@handler("test.thread")
def in_a_thread(args: Any) -> dict[str, Any]:
    """Work in a thread."""
    _log.info("threaded", thread=threading.current_thread().name.partition("-")[0])
    return {"args": args, "is_main": threading.current_thread() is threading.main_thread()}


@handler("test.about")
async def about(_args: Any, attempt: Attempt) -> dict[str, Any]:
    """Tell what it knows of its attempt."""
    attempt.log.info("asked", about="attempt")
    return {
        "job_id": attempt.job_id,
        "attempt": attempt.attempt,
        "queue_name": attempt.queue_name,
        "labels": dict(attempt.labels),
        "is_cancelled": attempt.is_cancelled,
    }


@handler("test.log")
async def logs(_args: Any) -> None:
    """Log in every way there is, from a task of its own as well."""
    _log.info("begun", step=1)
    logging.getLogger("library").warning("careful: %s", "hot")
    await asyncio.create_task(_log_more())
    await asyncio.to_thread(_log.error, "from a thread")


async def _log_more() -> None:
    _log.info("from a task")


@handler("test.flood")
async def flood(args: Any) -> None:
    """Log so many lines of 1,000 letters without ever waiting."""
    for number in range(args):
        _log.info(f"{number:05} " + "x" * (1000 - len("info: 00000 ")))


@handler("test.raise_hidden")
async def raise_hidden(_args: Any) -> None:
    """Raise what can't even be shown, and log it before."""
    try:
        _break()
    except Unshowable:
        _log.exception("it broke")
        raise


def _break() -> None:
    raise Unshowable


class Unshowable(Exception):  # noqa: N818  it is about its message
    """Has a message that raises."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError


@handler("test.fail")
async def fail(args: Any) -> None:
    """Raise with a text that can't be kept as it is; `~` stands for a null."""
    raise ValueError(args.replace("~", "\0"))


@handler("test.fail_in_a_thread")
def fail_in_a_thread(args: Any) -> None:
    """Raise with a text that can't be kept as it is; `~` stands for a null."""
    raise ValueError(args.replace("~", "\0"))


@handler("test.exit")
async def leave(_args: Any) -> None:
    """Try to end the worker."""
    sys.exit(3)


@handler("test.cancelled_inside")
async def cancelled_inside(_args: Any) -> None:
    """Wait for something that was cancelled by somebody else."""
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asked.cancel()
    await asked


@handler("test.forever")
async def forever(_args: Any) -> None:
    """Wait to be cancelled, and log that it was."""
    _log.info("waiting")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        _log.info("cleaning up")


@handler("test.recorded")
async def recorded(args: Any) -> None:
    """Keep a record, at the beginning, and give way to others."""
    CALLED.append(args)
    await asyncio.sleep(0)


@handler("test.until")
async def until(args: Any) -> Any:
    """Wait until all may go on, and let others have the loop meanwhile."""
    CALLED.append(args)
    while not GO.is_set():  # noqa: ASYNC110  it is set from other threads and loops
        await asyncio.sleep(0.005)
    return args


@handler("test.deaf")
async def deaf(_args: Any) -> None:
    """Hold back the first cancellation, and obey the second."""
    CALLED.append("called")
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        CALLED.append("cancelled")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        CALLED.append("cancelled again")


@handler("test.short")
async def short(_args: Any) -> None:
    """Take a moment."""
    await asyncio.sleep(0.1)


@handler("test.undying")
async def undying(_args: Any) -> None:
    """Hold back every cancellation, until it is told to go."""
    while not GO.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


@handler("test.raise_base")
async def raise_base(_args: Any) -> None:
    """Raise what most would not catch."""
    raise Escaping


class Escaping(BaseException):
    """Is no Exception."""


@handler("test.polite")
def polite(_args: Any, attempt: Attempt) -> None:
    """Look now and then whether to stop."""
    _log.info("waiting")
    while not attempt.is_cancelled:
        GO.wait(0.01)
    _log.info("stopping")


@handler("test.stubborn")
def stubborn(_args: Any) -> None:
    """Never look."""
    _log.info("waiting")
    GO.wait(30)


@handler("test.blocking")
async def blocking(_args: Any) -> None:
    """Hold the event loop."""
    GO.wait(30)


@handler("test.result")
async def result_of_a_size(args: Any) -> str:
    """Return JSON of so many bytes."""
    return str("x" * (args - 2))


@handler("test.unfit")
async def unfit(_args: Any) -> object:
    """Return what is no JSON."""
    return object()


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*given: Any) -> Any:
        return function(*given)

    return wrapped


@handler("test.wrapped")
@_plainly
async def wrapped(args: Any) -> Any:
    """Be hidden behind a wrapper that is no coroutine function."""
    return args
