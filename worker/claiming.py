"""One worker's claims: in which of three ways the next jobs are taken.

Either the table is asked first what there is (`suggestions`), or what comes first is claimed at
once (`first_claims`), or, where the way there from the top is long, what came lately
(`latest_jobs`). It decides nothing about jobs, and writes through `holdings`.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.job import ClaimJob
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import Context
from reactorcide.projections.job_suggestions import Suggested
from reactorcide.worker.claim_scan import DEAR_SECONDS
from reactorcide.worker.coordinator import Claim
from reactorcide.worker.first_claims import FirstClaim, FirstClaims
from reactorcide.worker.holdings import Holdings
from reactorcide.worker.latest_jobs import LatestJobs
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.suggestions import Suggestions

_SOON_SECONDS: Final = 0.003
_BUSY_SECONDS: Final = 0.02
"""Who has more to claim tells of its claims with the ends that come soon."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Claims:
    """Claims for one worker, one at a time; `now` returns the database's time.

    `connect` before and `close` after anything else.
    """

    def __init__(  # noqa: PLR0913, PLR0917  who claims, and what it works with
        self,
        settings: WorkerSettings,
        worker_id: UUID,
        database: Database,
        read: Pool,
        holdings: Holdings,
        doorbell: Doorbell,
        now: Callable[[], datetime],
    ) -> None:
        self._worker_id = worker_id
        self._lease_seconds = settings.lease_seconds
        self._holdings = holdings
        self._doorbell = doorbell
        self._now = now
        self._lane = Lane(database)
        self._suggestions = Suggestions(read, self._lane, settings, now)
        context = Context(actor_type="worker", actor_id=worker_id)
        self._first_claims = FirstClaims(self._lane, context, settings, self._command(now()))
        self._is_left = False
        """Something came first that is left to who looks."""
        self._latest = LatestJobs()
        self._is_behind = False
        """Something was claimed without regard to what came before."""
        self.know: Final = self._suggestions.scan.know
        """Takes note of which of how many workers this one is."""

    async def connect(self) -> None:
        """Connect, so that no claim has to. Raises DatabaseUnavailable."""
        await self._lane.connect()

    async def close(self) -> None:
        """Ask for nothing any more."""
        await self._suggestions.close()

    async def claim(self, slots: int, *, is_woken: bool) -> Claim:
        """Take up to `slots` jobs; see `Coordinator.claim`."""
        if self._suggestions.scan.is_dear:
            return await self._claim_latest(slots)
        is_usual = self._first_claims.is_usual
        if is_usual:
            await self._suggestions.put_back()
        may_be_first = not self._is_left and self._suggestions.is_plain
        if (is_woken or is_usual) and may_be_first and (claim := await self._claim_first(slots)):
            return claim
        return await self._claim_suggested(slots, is_for_once=is_usual)

    def look_in(self) -> float | None:
        """Return after how many seconds to claim though nobody rings; None: need not be."""
        if not (self._suggestions.scan.is_dear and self._is_behind):
            return None
        return self._suggestions.scan.due_in(self._now().timestamp())

    async def _claim_latest(self, slots: int) -> Claim:
        """Claim what came lately, and now and then what a look from the top finds: that is dear."""
        is_due = self._suggestions.scan.is_due(self._now().timestamp())
        if self._latest and not is_due:
            first = await self._first_claims.claim_latest(slots, self._latest.begin())
            if first is not None:
                self._is_behind = True
                return self._taken(first)
        await self._suggestions.put_back()
        claim = await self._claim_suggested(slots, is_for_once=True)
        self._is_behind = False  # only now: a look that failed has to be made again
        return claim

    async def _claim_first(self, slots: int) -> Claim | None:
        """Claim what comes first, unless somebody has to look for it."""
        began = time.monotonic()
        claim = await self._first_claims.claim(slots)
        if claim is None or (claim.has_left and not claim.found):
            return None
        # Whether it is the way from the top that takes so long, a look tells.
        self._is_left = claim.has_left or time.monotonic() - began > DEAR_SECONDS
        if not claim.has_more and not claim.has_left:
            self._suggestions.emptied()
        return self._taken(claim)

    def _taken(self, claim: FirstClaim) -> Claim:
        """Take note of what was claimed without a look."""
        if claim.found:
            self._learn(claim.found)
            self._suggestions.served(claim.found)
            self._ring(has_more=claim.has_more)
        return Claim(tuple(self._holdings.take(claim)), has_more=claim.has_more)

    async def _claim_suggested(self, slots: int, *, is_for_once: bool) -> Claim:
        """Let the table suggest jobs, and take those that nobody else took first."""
        found, has_more = await self._suggestions.take(slots, is_for_once=is_for_once)
        self._is_left = False
        if not found:
            return Claim((), has_more=False)
        self._learn(found)
        # The database found the jobs' time to have come, by the clock that counts.
        times = [at for _, _, state, _ in found if (at := state.available_at) is not None]
        command = self._command(max(self._now(), max(times, default=_LONG_AGO)))
        taken, met_others = await self._holdings.claim(found, command)
        self._ring(has_more=has_more)
        if met_others:
            self._suggestions.scan.meet(self._now().timestamp())
            self._first_claims.meet()
        return Claim(tuple(taken), has_more=has_more or met_others)

    def _learn(self, found: Sequence[Suggested]) -> None:
        if self._suggestions.scan.is_dear:
            self._latest.learn(found)

    def _command(self, now: datetime) -> ClaimJob:
        return ClaimJob(self._worker_id, self._lease_seconds, now)

    def _ring(self, *, has_more: bool) -> None:
        """Ring soon: what has been claimed is to run first, and most of it is rung for again."""
        within_seconds = _BUSY_SECONDS if has_more else _SOON_SECONDS
        self._doorbell.ring("events", within_seconds)
