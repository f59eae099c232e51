"""When tokens were last used: noted in memory, written in the background.

A token is written at most once a minute, however often it is used; a request never waits for it.
"""

import asyncio
import time
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, database_errors
from reactorcide.projections import tokens

log = structlog.stdlib.get_logger("reactorcide.api")

_AGAIN_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000


class TokenUses:
    """Owns the task that writes; use it as an async context manager."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: dict[UUID, float] = {}
        self._waiting: set[UUID] = set()
        self._wake = asyncio.Event()
        self._background = Background({"token-uses": self._write_for_ever})

    async def __aenter__(self) -> Self:
        """Start writing."""
        self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what was noted and not written is forgotten."""
        await self._background.stop()
        self._background.check()

    def note(self, token_id: UUID) -> None:
        """Remember that a token was used just now."""
        now = time.monotonic()
        if now - self._noted.get(token_id, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[token_id] = now
        self._waiting.add(token_id)
        self._wake.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            noted, self._waiting = self._waiting, set()
            try:
                with database_errors():
                    await tokens.touch(self._pool, sorted(noted))
            except DatabaseError as error:
                log.warning("token_uses_lost", count=len(noted), detail=error.detail)
