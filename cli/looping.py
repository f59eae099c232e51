"""Runs a worker's event loop, and ends it although somebody's handler does not want to end.

`asyncio.run` waits without a limit for tasks that hold back their cancellation.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final

import uvloop

_PATIENCE_SECONDS: Final = 1.0


def run_in_loop(main: Coroutine[Any, Any, None]) -> bool:
    """Run it to its end, whatever it raises; return whether nothing of it is left.

    Tasks that are left are cancelled, and waited for only shortly.
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        left = loop.run_until_complete(_cancel_all())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(_end_pool(loop))
        asyncio.set_event_loop(None)
        if not left:
            loop.close()
    return not left and not _threads_left()


def end_with_what_is_left() -> None:
    """End the program with 0, and with it what would keep it from ending."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


async def _cancel_all() -> int:
    """Cancel what still runs in the loop; return how much does not end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if not tasks:
        return 0
    ended, left = await asyncio.wait(tasks, timeout=_PATIENCE_SECONDS)
    await asyncio.gather(*ended, return_exceptions=True)
    return len(left)


async def _end_pool(loop: asyncio.AbstractEventLoop) -> None:
    """Let the threads of `to_thread` end, those that do."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await loop.shutdown_default_executor()


def _threads_left() -> bool:
    """Say whether a thread will not end that Python would wait for."""
    others = [
        one
        for one in threading.enumerate()
        if one is not threading.current_thread() and not one.daemon
    ]
    return any(one.is_alive() for one in others)
