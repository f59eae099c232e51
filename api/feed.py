"""News of jobs for open streams: one listener and one query per ring, however many watch.

A ring says only "look again"; the query finds which of the watched jobs have changed or said
more, and only their watchers are woken. A ring that is lost costs a few seconds, never a line.
"""

import asyncio
import random
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import structlog

from reactorcide.api.authentication import Authenticator
from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, database_errors
from reactorcide.eventstore.doorbell import Doorbell, Sleeper
from reactorcide.projections import log_chunks
from reactorcide.projections.log_chunks import Head

log = structlog.stdlib.get_logger("reactorcide.api")

_FLOOR_SECONDS: Final = 5.0
_DEAF_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 0.005


class Watch(Sleeper):
    """One open stream's interest in one job, while its `with` block lasts."""

    def __init__(self, feed: "Feed", job_id: UUID) -> None:
        super().__init__()
        self.job_id = job_id
        self.head: Head | None = None
        self._feed = feed

    def __enter__(self) -> Self:
        """Be told of news from now on."""
        self._feed._watches.add(self)  # noqa: SLF001 - two halves of one thing
        self._feed._is_watched.set()  # noqa: SLF001 - two halves of one thing
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Be told no more."""
        self._feed._watches.discard(self)  # noqa: SLF001 - two halves of one thing


class Feed:
    """What one process tells its open streams; owns its tasks. An async context manager."""

    def __init__(self, pool: Pool, doorbell: Doorbell, authenticator: Authenticator) -> None:
        self.is_closing = False
        """The server stops: streams are to end."""
        self._pool = pool
        self._doorbell = doorbell
        self._authenticator = authenticator
        self._watches: set[Watch] = set()
        self._is_watched = asyncio.Event()
        self._background = Background(
            {"feed-news": self._tell_news, "feed-rights": self._tell_rights}
        )

    def watch(self, job_id: UUID) -> Watch:
        """Return a watch of a job's log and status."""
        return Watch(self, job_id)

    def close(self) -> None:
        """End all streams, now and from now on."""
        self.is_closing = True
        self._wake_all()

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.close()
        await self._background.stop()
        self._background.check()

    async def _tell_news(self) -> None:
        while True:
            self._is_watched.clear()
            if not self._watches:
                await self._is_watched.wait()
            with self._doorbell.listen("logs", "events") as listener:
                while self._watches:
                    await self._look()
                    await asyncio.sleep(_QUIET_SECONDS)
                    floor = _FLOOR_SECONDS if self._doorbell.is_up else _DEAF_SECONDS
                    await listener.wait(floor * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _look(self) -> None:
        """Ask for the heads of all watched jobs; wake those whose job has moved."""
        job_ids = {watch.job_id for watch in self._watches}
        try:
            with database_errors():
                heads = await log_chunks.heads(self._pool, job_ids)
        except DatabaseError as error:
            log.warning("feed_missed", detail=error.detail)
            return
        for watch in self._watches:
            head = heads.get(watch.job_id)
            if head is None or head != watch.head:
                watch.head = head
                watch.wake()

    async def _tell_rights(self) -> None:
        """Let a change of rights anywhere be felt here at once."""
        with self._doorbell.listen("control") as listener:
            while True:
                if await listener.wait(_FLOOR_SECONDS):
                    self._authenticator.forget()
                    self._wake_all()

    def _wake_all(self) -> None:
        for watch in self._watches:
            watch.wake()
