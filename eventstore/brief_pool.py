"""A pool of connections that does not wait long for those on which nothing comes back."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

if TYPE_CHECKING:
    _AnyPool = asyncpg.Pool[asyncpg.Record]
else:
    _AnyPool = asyncpg.Pool

_BACK_SECONDS: Final = 2.0
"""Whether a statement that was given up is over must be known by then; else we hang up."""

_CLOSE_SECONDS: Final = 5.0


class BriefPool(_AnyPool):
    """As asyncpg's, but for how it takes connections back and closes them."""

    __slots__ = ()

    def release(
        self, connection: PoolConnection, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, None]:
        """Take a connection back; one that does not end what was given up is closed.

        So are those that nobody uses: who comes next should not wait for them in vain as well.
        It raises nothing, so that the reason why the work ended is told on.
        """
        # To ask costs nothing; a deadline for each return of a connection costs a tenth of a read.
        session = connection._con  # type: ignore[attr-defined]  # noqa: SLF001  nobody else says it
        protocol = session._protocol if session is not None else None  # noqa: SLF001  as above
        if protocol is None or not protocol._is_cancelling():  # noqa: SLF001  as above
            return super().release(connection, timeout=timeout)
        return self._part_with(connection)

    async def _part_with(self, connection: PoolConnection) -> None:
        try:
            await super().release(connection, timeout=_BACK_SECONDS)
        except TimeoutError:
            for holder in self._holders:  # type: ignore[attr-defined]  # the stubs have none
                if holder.is_idle():
                    holder.terminate()

    async def close(self) -> None:
        """Close the connections, politely unless that takes long."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super().close()
        except TimeoutError:
            self.terminate()
