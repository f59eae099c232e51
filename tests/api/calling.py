"""Both clients behind one face, so that each claim is made of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from typing import Any, Final, TypeAlias

from reactorcide.api.client import AsyncClient, Client

_PATIENCE_SECONDS: Final = 30.0
"""An answer that goes on for ever is an error here, and no test that hangs."""


class BlockingCaller:
    """A `Client`, called in threads: the server of a test runs in the test's own loop."""

    def __init__(self, url: str | None, token: str | None, timeout_seconds: float) -> None:
        self.client = Client(url, token, timeout_seconds=timeout_seconds)

    async def call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Make a call."""
        return await asyncio.to_thread(getattr(self.client, name), *args, **named)

    async def items(
        self, name: str, /, *args: Any, count: int | None = None, **named: Any
    ) -> list[Any]:
        """Make a call that yields; return what it yields, or its first `count`."""

        def taken() -> list[Any]:
            return list(islice(getattr(self.client, name)(*args, **named), count))

        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asyncio.to_thread(taken)

    async def close(self) -> None:
        """Close it."""
        await asyncio.to_thread(self.client.close)


class AwaitingCaller:
    """An `AsyncClient`."""

    def __init__(self, url: str | None, token: str | None, timeout_seconds: float) -> None:
        self.client = AsyncClient(url, token, timeout_seconds=timeout_seconds)

    async def call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Make a call."""
        return await getattr(self.client, name)(*args, **named)

    async def items(
        self, name: str, /, *args: Any, count: int | None = None, **named: Any
    ) -> list[Any]:
        """Make a call that yields; return what it yields, or its first `count`."""
        found: list[Any] = []
        async with (
            asyncio.timeout(_PATIENCE_SECONDS),
            aclosing(getattr(self.client, name)(*args, **named)) as items,
        ):
            async for item in items:
                found.append(item)
                if len(found) == count:
                    break
        return found

    async def close(self) -> None:
        """Close it."""
        await self.client.close()


Caller: TypeAlias = BlockingCaller | AwaitingCaller
Kind: TypeAlias = type[BlockingCaller] | type[AwaitingCaller]

KINDS: tuple[Kind, ...] = (BlockingCaller, AwaitingCaller)


@asynccontextmanager
async def calling(
    kind: Kind, url: str, token: str | None, timeout_seconds: float = 30.0
) -> AsyncIterator[Caller]:
    """Lend a client."""
    caller = kind(url, token, timeout_seconds)
    try:
        yield caller
    finally:
        await caller.close()
