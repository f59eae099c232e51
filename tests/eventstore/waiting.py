"""Waiting for what must become true, with a deadline; never for time to pass."""

import asyncio
from collections.abc import Awaitable, Callable

from reactorcide.tests.conftest import Connection

_BLOCKED = "SELECT pg_blocking_pids($1) <> '{}'"


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Return when `condition` holds. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  what changes is in the database
            await asyncio.sleep(0.002)


async def until_blocked(connection: Connection, pid: int) -> None:
    """Return when that backend waits for a lock of another."""

    async def is_blocked() -> bool:
        return bool(await connection.fetchval(_BLOCKED, pid))

    await until(is_blocked)
