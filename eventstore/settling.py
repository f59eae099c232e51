"""Ends a wait for a future, which may have ended by itself."""

import asyncio


def settle(future: "asyncio.Future[None]") -> None:
    """Let who waits go on; nothing where the future is done, or its waiter was cancelled."""
    if not future.done():
        future.set_result(None)
