"""Measurements that are broken off: a signal ends what they started, then themselves.

A server outlives whoever starts it, so a measurement that just dies leaves one behind.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from reactorcide.cli.embedded import EmbeddedPostgres

T = TypeVar("T")


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run it, and return what it returns.

    The first SIGTERM or SIGINT cancels it, so that it ends what it started; then SystemExit is
    raised with 128 + the signal's number. More of them do nothing.
    """
    came: list[int] = []

    async def heeding() -> T:
        running = asyncio.current_task()
        assert running is not None  # noqa: S101  a coroutine runs in a task

        def heed(number: int) -> None:
            came.append(number)
            if len(came) == 1:
                running.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, heed, number)
        return await main

    try:
        result = uvloop.run(heeding())
    except asyncio.CancelledError:
        if not came:
            raise
        raise SystemExit(128 + came[0]) from None
    return result


@asynccontextmanager
async def running(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Start a server, give its URI, and stop it: also one that was still starting."""
    starting = asyncio.create_task(asyncio.to_thread(postgres.start))
    try:
        yield await asyncio.shield(starting)
    finally:
        await asyncio.wait([starting])
        await asyncio.to_thread(postgres.stop)
