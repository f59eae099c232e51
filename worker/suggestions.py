"""What the read table suggests to claim next, read ahead while a claim is under way.

Reads only: the rules and the log decide.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from reactorcide.eventstore.database import Pool, database_errors
from reactorcide.eventstore.lane import Lane
from reactorcide.projections import job_suggestions
from reactorcide.projections.job_suggestions import ALL, Aged, Share, Suggested
from reactorcide.worker.ageing import Ageing, oldest_id_since
from reactorcide.worker.claim_scan import ClaimScan
from reactorcide.worker.coordinator import CoordinatorUnavailable
from reactorcide.worker.direct_errors import our_errors
from reactorcide.worker.settings import WorkerSettings

_STALE_SECONDS: Final = 0.1
_AHEAD: Final = 16
"""So many are read ahead though fewer slots are free: a look at many takes little longer."""


class Suggestions:
    """One worker's view of the queues; one `take` at a time."""

    def __init__(
        self, read: Pool, lane: Lane, settings: WorkerSettings, now: Callable[[], datetime]
    ) -> None:
        self.scan = ClaimScan()
        self._read = read
        self._lane = lane
        """For one look after the other; who looks for what has aged may look meanwhile."""
        self._queues = settings.queues
        self._labels = json.dumps(dict(settings.labels))
        self._now = now
        self._ageing = Ageing()
        self._ageing_after = timedelta(seconds=settings.ageing_seconds)
        self._ahead: asyncio.Task[list[Suggested]] | None = None
        self._left: list[Suggested] = []
        """What was read ahead and did not fit."""
        self._read_at = float("-inf")
        self._is_end = False

    @property
    def is_plain(self) -> bool:
        """Whether the next jobs are simply those that come first: nothing is read, none is aged."""
        return (
            self._ahead is None
            and not self._left
            and self.scan.after is None
            and not self._ageing.is_due(self._now().timestamp())
        )

    async def take(self, slots: int, *, is_for_once: bool = False) -> tuple[list[Suggested], bool]:
        """Return up to `slots` jobs, best first, and whether there may be more.

        If so, the next ones are being read when this returns, unless it `is_for_once`.
        """
        at = self._now()
        if self._ageing.is_due(at.timestamp()) and (aged := await self._aged(slots, at)):
            return aged, True
        found = self._take_left(slots) or await self._read_ahead(slots) or await self._look(slots)
        if found:
            self.served(found)
        has_more = bool(self._left) or not self._is_end
        if is_for_once:
            self.scan.restart()
        now = self._now().timestamp()
        # From the top nothing is read ahead: what is being claimed still stands there.
        if not self._left and self.scan.after is not None and not self.scan.is_due(now):
            share = self.scan.share(now)
            # Who meets others at what it wants takes no more than it needs now.
            reading = self._read_some(max(slots, _AHEAD) if share == ALL else slots, share)
            self._ahead = asyncio.create_task(reading, name="suggestions")
        return found, has_more

    def served(self, found: Sequence[Suggested]) -> None:
        """Learn what was claimed by priority, here or elsewhere."""
        self._ageing.served(found[-1].submitted.priority)

    def emptied(self) -> None:
        """Learn that nothing was left by what was claimed elsewhere."""
        self._ageing.emptied()

    async def put_back(self) -> None:
        """Forget what was read ahead: the next look is from the top."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            await asyncio.gather(ahead, return_exceptions=True)
        self._left = []
        self.scan.restart()

    async def close(self) -> None:
        """Read nothing any more."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
        await self._lane.close()

    def _take_left(self, slots: int) -> list[Suggested]:
        """Return what did not fit before, unless it is old, or others want it as well."""
        left, self._left = self._left, []
        if not left:
            return []
        now = self._now().timestamp()
        is_old = time.monotonic() - self._read_at > _STALE_SECONDS
        if is_old or self.scan.is_due(now) or self.scan.share(now) != ALL:
            self.scan.restart()
            return []
        self._left = left[slots:]
        return left[:slots]

    async def _read_ahead(self, slots: int) -> list[Suggested]:
        """Return what was read ahead, as much as there is room for, unless it is old."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return []
        found: list[Suggested] = []
        with contextlib.suppress(CoordinatorUnavailable):
            found = await ahead
        if time.monotonic() - self._read_at > _STALE_SECONDS:
            self.scan.restart()
            return []
        self._left = found[slots:]
        return found[:slots]

    async def _look(self, slots: int) -> list[Suggested]:
        """Read what comes next; once more from the top, and all, where that is not much."""
        now = self._now().timestamp()
        if self.scan.is_due(now):
            self.scan.restart()
        share, is_from_top = self.scan.share(now), self.scan.after is None
        found = await self._read_some(slots, share)
        if len(found) < slots and not (is_from_top and share == ALL):
            self.scan.restart()
            found = await self._read_some(slots, ALL)
        return found

    async def _aged(self, slots: int, now: datetime) -> list[Suggested]:
        """Read what has waited long behind what is served."""
        before = now - self._ageing_after
        aged = Aged(oldest_id_since(before.timestamp()), self._ageing.priority or 0, before)
        began = time.monotonic()
        with our_errors(), database_errors():
            found = await job_suggestions.claimable_aged(
                self._read,
                self._queues,
                self._labels,
                slots,
                aged,
                self.scan.own_share(now.timestamp()),
            )
        self._ageing.looked(now.timestamp(), time.monotonic() - began, has_found=bool(found))
        return found

    async def _read_some(self, slots: int, share: Share) -> list[Suggested]:
        began = self._read_at = time.monotonic()
        with our_errors(), database_errors():
            found = await job_suggestions.claimable(
                self._lane, self._queues, self._labels, slots, share, self.scan.after
            )
        last = found[-1] if len(found) == slots else None
        self._is_end = last is None and share == ALL
        key = None if last is None else (last.submitted.priority, last.job_id)
        self.scan.found(key, self._now().timestamp(), time.monotonic() - began)
        return found
