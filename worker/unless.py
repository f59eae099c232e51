"""A wait that something else may end. Knows nothing of what is waited for."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


async def unless(stopped: "asyncio.Task[bool]", waiting: Coroutine[Any, Any, object]) -> None:
    """Wait, but break that off when `stopped` is done; what `waiting` raises is raised here.

    In the caller's own task: with one for `waiting` a ring would be heard two turns later.
    """
    scope = asyncio.timeout(None)

    def end(_stopped: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has just been left
            scope.reschedule(0)

    stopped.add_done_callback(end)
    try:
        async with scope:
            await waiting
    except TimeoutError:
        if not scope.expired():
            raise
    finally:
        stopped.remove_done_callback(end)
