"""Reports what the spool keeps, also what a worker before this one has left there.

It decides nothing: the log takes an outcome as long as its attempt is still held by the worker
that ran it, and refuses it otherwise. Heard or refused, it is kept no longer.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.worker.coordinator import AttemptKey, Coordinator, CoordinatorUnavailable
from reactorcide.worker.spool import Spool, Spooled

_LOOK_SECONDS: Final = 0.5

_log = structlog.get_logger(__name__)


class SpoolSender:
    """Sends on behalf of one worker. Of attempts that `is_at_work` the worker speaks itself."""

    def __init__(
        self, spool: Spool, coordinator: Coordinator, is_at_work: Callable[[AttemptKey], bool]
    ) -> None:
        self._spool = spool
        self._coordinator = coordinator
        self._is_at_work = is_at_work

    async def send_forever(self) -> None:
        """Send what is kept, and look again twice a second; wait while nobody can be reached."""
        while True:
            try:
                await self.send()
            except CoordinatorUnavailable as error:
                _log.debug("spool_waits", detail=error.detail)
            await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311  jitter

    async def send(self) -> None:
        """Send what is kept now. Raises CoordinatorUnavailable: the rest is still kept."""
        for key in self._spool.kept():
            if self._is_at_work(key):
                continue
            spooled = await asyncio.to_thread(self._spool.read, key)
            if spooled is not None:
                await self._send(key, spooled)

    async def _send(self, key: AttemptKey, spooled: Spooled) -> None:
        names = {"job_id": str(key.job_id), "attempt": key.attempt}
        outcome = type(spooled.report.outcome).__name__.lower()
        try:
            if spooled.chunks:
                await self._coordinator.log(key, spooled.chunks)
            await self._coordinator.finish_late(spooled.worker_id, spooled.report)
        except CommandRejected as error:
            _log.warning("spooled_outcome_refused", **names, outcome=outcome, detail=error.detail)
        except CoordinatorUnavailable:
            raise
        except Exception:  # noqa: BLE001  the edge of an attempt: the others are still to be sent
            _log.exception("spooled_outcome_broken", **names)
            self._spool.put_aside(key)
            return
        else:
            _log.info("spooled_outcome_sent", **names, outcome=outcome)
        self._spool.forget([key])
