"""Runs the asynchronous projections: one runner for each is active, all others stand by.

Every API process has a runner of each, and `reactorcide projections run` is one. Who holds the
projection's lock follows the log; the others ask for the lock every two seconds, so that one of
them goes on within five when the first is gone.
"""

import asyncio
import random
from time import monotonic
from types import TracebackType
from typing import Final, Self

import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import Connection, Database, DatabaseError, database_errors
from reactorcide.eventstore.doorbell import Doorbell, Listener
from reactorcide.projections import audit_events, checkpoints, sealer
from reactorcide.projections.checkpoints import CheckpointMoved
from reactorcide.projections.subscription import CannotFollow, Follower, Pace, UnknownType

SUBSCRIPTIONS: Final = (audit_events.SUBSCRIPTION,)
"""All asynchronous projections that are folds."""

FOLLOWING: Final = (*(one.name for one in SUBSCRIPTIONS), sealer.NAME)
"""The names of all that follows the log."""

_FLOOR_SECONDS: Final = 2.0
_LEAST_SECONDS: Final = 0.02
_STANDBY_SECONDS: Final = 2.0
_STOPPED_SECONDS: Final = 5.0
_LOST_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Runner:
    """Follows the log with one projection, whenever nobody else does.

    Use it as an async context manager, then it owns a task; or await `run`. A database that is
    away is waited for.
    """

    def __init__(self, database: Database, doorbell: Doorbell, follower: Follower) -> None:
        self._database = database
        self._doorbell = doorbell
        self._follower = follower
        self._told: UnknownType | None = None
        self._background = Background({f"runner of {follower.name}": self.run})

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
        """Stop: a batch under way is undone, and another runner begins with it."""
        await self._background.stop()

    async def run(self) -> None:
        """Stand by and follow, until cancelled."""
        while True:
            try:
                with database_errors(), self._doorbell.listen("events") as listener:
                    async with checkpoints.session(self._database) as connection:
                        await self._hold(connection, listener)
            except DatabaseError as error:
                self._warn("projection_lost", detail=error.detail)
            except CheckpointMoved:
                self._warn("projection_moved_by_another")
            except CannotFollow as error:
                self._warn("projection_refused", detail=error.detail)
                await _sleep(_STOPPED_SECONDS)
            await _sleep(_LOST_SECONDS)

    async def _hold(self, connection: Connection, listener: Listener) -> None:
        """Take the lock whenever it is free, and follow."""
        name = self._follower.name
        while True:
            while not await checkpoints.take(connection, name):
                await _sleep(_STANDBY_SECONDS)
            stopped_by = await self._follow(connection, listener)
            # Somebody who knows the type may be standing by.
            await checkpoints.give_back(connection, name)
            self._tell(stopped_by)
            await _sleep(_STOPPED_SECONDS)

    async def _follow(self, connection: Connection, listener: Listener) -> UnknownType:
        """Take batch after batch as the log grows; return what can't be taken."""
        pace, caught_up_at = self._follower.pace, monotonic()
        position: int | None = None
        moved_at = caught_up_at - pace.interval_seconds
        while True:
            began = monotonic()
            advanced = await self._follower.advance(connection)
            now = monotonic()
            if advanced.stopped_by is not None:
                return advanced.stopped_by
            if position not in {None, advanced.position}:
                moved_at = now
            position = advanced.position
            least = _LEAST_SECONDS
            if not advanced.is_behind:
                caught_up_at = now
                if not await listener.wait(_FLOOR_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311  jitter
                    continue
                least = max(least, moved_at + pace.interval_seconds - monotonic())
            # A busy log rings all the time: a few passes a second take it all. Writers need the
            # processors more than readers of the audit trail need the last second.
            await asyncio.sleep(max(least, _rest(pace, now - began, now - caught_up_at)))

    def _tell(self, stopped_by: UnknownType) -> None:
        """Say once for each event where it stopped, and why."""
        if stopped_by != self._told:
            self._told = stopped_by
            name = self._follower.name
            _log.error("projection_stopped", projection=name, **stopped_by._asdict())

    def _warn(self, event: str, **more: str) -> None:
        _log.warning(event, projection=self._follower.name, **more)


def _rest(pace: Pace, took: float, behind: float) -> float:
    """Return how long to rest, in seconds."""
    return took * (pace.rest if behind < pace.patient_seconds else pace.short_rest)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311  jitter is no secret
