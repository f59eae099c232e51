"""Says how the attempts of handlers ended: whatever has ended while the last report was under way.

It decides nothing, and keeps on saying it until it is heard or the lease is lost.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.job import Completed, Failed, Outcome, TimedOut
from reactorcide.eventstore.record import new
from reactorcide.worker.coordinator import (
    AttemptKey,
    Coordinator,
    CoordinatorUnavailable,
    Report,
)
from reactorcide.worker.halt import HaltReason
from reactorcide.worker.handled import Handling
from reactorcide.worker.spool import Spool, Spooled

_PAUSE_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)


class Reports:
    """The outcomes of one worker's handlers that wait to be reported.

    `reported` is called with each attempt that needs its lease no longer.
    """

    def __init__(
        self, coordinator: Coordinator, spool: Spool, reported: Callable[[AttemptKey], None]
    ) -> None:
        self._coordinator = coordinator
        self._spool = spool
        self._reported = reported
        self._waiting: list[tuple[Handling, Outcome]] = []
        self._has_some = asyncio.Event()

    @property
    def count(self) -> int:
        """How many wait for the next report."""
        return len(self._waiting)

    def add(self, handling: Handling, outcome: Outcome) -> None:
        """Report it, with those that end meanwhile."""
        if not self._waiting:
            self._has_some.set()
        self._waiting.append((handling, outcome))

    async def report_forever(self, heard: Callable[[], None]) -> None:
        """Report whatever has ended since the last report; `heard` is called after each."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            batch, self._waiting = self._waiting, []
            await self._report(batch)
            reported = self._reported
            for handling, _ in batch:
                reported(handling.claimed.key)
            heard()

    async def _report(self, batch: list[tuple[Handling, Outcome]]) -> None:
        """Say how attempts ended, until it is heard; what is lost meanwhile is left out.

        What is not heard at once is kept in the spool.
        """
        kept: list[AttemptKey] = []
        while True:
            reports = [
                new(Report, (handling.claimed.key, outcome))
                for handling, outcome in batch
                if handling.reason is not HaltReason.LOST
            ]
            try:
                refused = await self._coordinator.finish_all(reports) if reports else {}
            except CoordinatorUnavailable as error:
                _log.warning("reports_delayed", attempts=len(reports), detail=error.detail)
                if not kept:
                    kept = [report.key for report in reports]
                    worker_id = self._coordinator.worker_id
                    await self._spool.keep([Spooled(worker_id, report) for report in reports])
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  jitter
            except Exception:  # noqa: BLE001  the edge of attempts: their leases end by themselves
                _log.exception("attempts_not_settled", attempts=len(reports))
                return
            else:
                self._spool.forget({report.key for report in reports}.intersection(kept))
                _tell(batch, refused)
                return


def _tell(
    batch: list[tuple[Handling, Outcome]], refused: Mapping[AttemptKey, CommandRejected]
) -> None:
    """Write a line about each attempt that did not simply complete, and one about the others."""
    completed = 0
    for handling, outcome in batch:
        if refused and (key := handling.claimed.key) in refused:
            error: str | None = f"refused: {refused[key].detail}"
        elif isinstance(outcome, Completed):
            completed += 1
            continue
        else:
            error = outcome.error if isinstance(outcome, Failed | TimedOut) else None
        key = handling.claimed.key
        _log.info(
            "attempt_ended",
            job_id=str(key.job_id),
            attempt=key.attempt,
            handler=handling.claimed.submitted.handler,
            outcome=type(outcome).__name__.lower(),
            error=error,
        )
    if completed:
        _log.debug("attempts_completed", attempts=completed)
