"""How one attempt reaches the coordinator: it asks until it is answered, while its lease lasts.

An outcome that is not heard is kept in the spool. It knows nothing of what the attempt does.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from reactorcide.eventstore.domain.job import Outcome
from reactorcide.worker.coordinator import (
    AttemptKey,
    Chunk,
    Coordinator,
    CoordinatorUnavailable,
    Report,
)
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.spool import Spool, Spooled

_PAUSE_SECONDS: Final = 0.2

T = TypeVar("T")


class Lost(Exception):  # noqa: N818  named by what is so, like the rejections
    """The attempt is not this worker's any more: there is nothing left to say."""


class Reach:
    """The line of one attempt, as long as `halt` does not say that it is lost."""

    def __init__(self, key: AttemptKey, coordinator: Coordinator, spool: Spool, halt: Halt) -> None:
        self._key = key
        self._coordinator = coordinator
        self._spool = spool
        self._halt = halt
        self._is_kept = False

    @property
    def is_lost(self) -> bool:
        """Whether nothing of the attempt counts any more."""
        return self._halt.reason is HaltReason.LOST

    async def ask(self, ask: Callable[[], Awaitable[T]], outcome: Outcome | None = None) -> T:
        """Ask the coordinator until it answers. Raises Lost when the lease is over before.

        An outcome that is not heard at once is kept meanwhile.
        """
        while not self.is_lost:
            with contextlib.suppress(CoordinatorUnavailable):
                return await ask()
            if outcome is not None:
                await self.keep(outcome)
                outcome = None
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  jitter
        raise Lost

    async def keep(self, outcome: Outcome, chunks: Sequence[Chunk] = ()) -> None:
        """Keep what nobody hears now."""
        self._is_kept = True
        report = Report(self._key, outcome)
        await self._spool.keep([Spooled(self._coordinator.worker_id, report, chunks)])

    def forget(self) -> None:
        """Keep nothing any more: it was heard, or refused."""
        if self._is_kept:
            self._spool.forget([self._key])
