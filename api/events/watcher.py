"""One reader of the log for all open event streams of this process.

It reads up to `safe_position`, once per wake-up, and hands what it read to every follower that
may see it; while nobody follows it reads nothing. A follower keeps what is not sent yet up to a
limit, and is dropped beyond it: its client comes back with Last-Event-ID. Sends nothing itself.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import structlog

from reactorcide.api.authentication import Authenticator
from reactorcide.api.errors import unavailable
from reactorcide.api.events.sight import Sight
from reactorcide.api.events.telling import Owners, Told
from reactorcide.eventstore import store
from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, database_errors
from reactorcide.eventstore.doorbell import Doorbell, Listener, Sleeper
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.record import RecordedEvent

log = structlog.stdlib.get_logger("reactorcide.api")

PAGE_EVENTS: Final = 200

_FLOOR_SECONDS: Final = 1.0
"""Looked at so often without a ring: not everybody who appends rings."""
_DEAF_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 0.005
_PATIENCE_SECONDS: Final = 0.1
"""How long a gap may hold back what comes before it."""
_FIRST_PATIENCE_SECONDS: Final = 1.0
_RECENT: Final = 10_000
"""Positions: more than the horizon takes for settled without asking who writes."""
_LOOK_SECONDS: Final = 15.0
_START_SECONDS: Final = 5.0


class Follower(Sleeper):
    """One open stream: what it may see, and what it has still to send."""

    def __init__(self, sight: Sight, buffer_bytes: int) -> None:
        super().__init__()
        self.sight = sight
        self.is_dropped = False
        """It had too much to send: what was kept for it is gone."""
        self.is_in_doubt = False
        """Somebody's rights have changed since it last made sure of its own."""
        self._buffer_bytes = buffer_bytes
        self._frames = deque[bytes]()
        self._size = 0
        self._position: int | None = None

    @property
    def wants_events(self) -> bool:
        """Whether it is told what is read: it has joined, and was not dropped."""
        return self._position is not None and not self.is_dropped

    def join(self, position: int) -> None:
        """Be told what stands behind `position` from now on."""
        self._position = position

    def offer(self, batch: Sequence[Told], owners: Mapping[UUID, UUID], position: int) -> None:
        """Keep what it may see of the events up to `position`."""
        if self._position is None or self.is_dropped:
            return
        frames = [
            told.frame
            for told in batch
            if told.event.position > self._position
            and self.sight.sees(told.event, owners.get(told.event.stream_id))
        ]
        self._position = max(self._position, position)
        if not frames:
            return
        self._size += sum(map(len, frames))
        if self._frames and self._size > self._buffer_bytes:
            self.is_dropped = True
            self._frames.clear()
        else:
            self._frames.extend(frames)
        self.wake()

    def take(self) -> tuple[bytes, int]:
        """Return what is to be sent, and up to which position that is all there is."""
        frames = b"".join(self._frames)
        self._frames.clear()
        self._size = 0
        return frames, self._position or 0


class Watcher:
    """Reads for the followers of one process; owns its tasks. An async context manager."""

    def __init__(self, pool: Pool, doorbell: Doorbell, authenticator: Authenticator) -> None:
        self.is_closing = False
        """The server stops: streams are to end."""
        self.position = 0
        """Everything up to here was read and told; nothing can appear there any more."""
        self.owners = Owners(pool)
        self._pool = pool
        self._doorbell = doorbell
        self._authenticator = authenticator
        self._followers: set[Follower] = set()
        self._is_wanted = asyncio.Event()
        self._is_reading = asyncio.Event()
        self._background = Background({"watcher-events": self._read, "watcher-rights": self._doubt})

    async def attach(self, follower: Follower) -> None:
        """Read while it is there; `position` is of now when this returns. Raises Problem (503).

        It is told nothing of what is read before it joins.
        """
        self._followers.add(follower)
        self._is_wanted.set()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._is_reading.wait()
        except TimeoutError:
            self.detach(follower)
            raise unavailable(detail="The log cannot be followed just now") from None
        except BaseException:
            self.detach(follower)
            raise

    def detach(self, follower: Follower) -> None:
        """Forget it."""
        self._followers.discard(follower)

    def close(self) -> None:
        """End all streams, now and from now on."""
        self.is_closing = True
        for follower in self._followers:
            follower.wake()

    async def __aenter__(self) -> Self:
        """Start."""
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

    async def _read(self) -> None:
        while True:
            self._is_reading.clear()
            self._is_wanted.clear()
            if not self._followers:
                await self._is_wanted.wait()
            with self._doorbell.listen("events") as listener:
                while self._followers and await _tried(self._begin()) is None:
                    await self._pause(listener)
                self._is_reading.set()
                while self._followers:
                    if not await _tried(self._look()):
                        await asyncio.sleep(_QUIET_SECONDS)
                        await self._pause(listener)

    async def _pause(self, listener: Listener) -> None:
        floor = _FLOOR_SECONDS if self._doorbell.is_up else _DEAF_SECONDS
        await listener.wait(floor * random.uniform(0.8, 1.2))  # noqa: S311  jitter

    async def _begin(self) -> bool:
        """Take the position of now: whatever is committed after this stands behind it.

        It waits for those who write just now; for one that goes on for more than a second no
        longer: then it is the position before the first gap of the last ten thousand.
        """
        highest, _ = await store.present(self._pool)
        async with self._pool.acquire() as connection:
            recent = max(highest - _RECENT, self.position)
            self.position = await safe_position(connection, recent, _FIRST_PATIENCE_SECONDS)
        return True

    async def _look(self) -> bool:
        """Read on and tell; say whether there is more at once."""
        clock = asyncio.get_running_loop().time
        began = clock()
        async with self._pool.acquire() as connection:
            settled = await safe_position(connection, self.position, _PATIENCE_SECONDS)
            is_held_up = clock() - began >= _PATIENCE_SECONDS
            events = await store.read_all(connection, self.position, settled, PAGE_EVENTS)
        is_page = len(events) == PAGE_EVENTS
        owners = await self._owners_of(events)
        # From here on nothing is awaited: who joins meanwhile joins before or behind all of it.
        self.position = events[-1].position if is_page else settled
        batch = [Told(event) for event in events]
        for follower in self._followers:
            follower.offer(batch, owners, self.position)
        return is_page or is_held_up

    async def _owners_of(self, events: Sequence[RecordedEvent]) -> Mapping[UUID, UUID]:
        """Return whose the streams are, if anybody who is there by then has to know."""
        if any(one.wants_events and one.sight.needs_owners for one in self._followers):
            return await self.owners.of(events)
        return {}

    async def _doubt(self) -> None:
        """Let a change of rights anywhere be felt here at once."""
        with self._doorbell.listen("control") as listener:
            while True:
                if await listener.wait(_FLOOR_SECONDS):
                    self._authenticator.forget()
                    for follower in self._followers:
                        follower.is_in_doubt = True
                        follower.wake()


async def _tried(look: Awaitable[bool]) -> bool | None:
    """Return what a look says; None when the database did not answer it."""
    try:
        with database_errors():
            async with asyncio.timeout(_LOOK_SECONDS):
                return await look
    except DatabaseError as error:
        log.warning("events_missed", detail=error.detail)
        return None
