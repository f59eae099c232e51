"""Claims what comes first in the queue at once, without a look before.

One statement instead of two, and workers that meet pass over what others are taking: nobody wants
what another has just got. It is for jobs that never ran: the rules are asked once, since these
all stand alike at any time, and decide before anybody knows for which. What else there may be is
left to who looks.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore import store
from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JOB, ClaimJob, JobState
from reactorcide.eventstore.guard_sql import Choice
from reactorcide.eventstore.ids import NO_ID, new_beginning
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import AppendToFound, Context
from reactorcide.projections import job_rows, job_suggestions
from reactorcide.projections.job_suggestions import FirstClaimed, Suggested
from reactorcide.worker.claim_scan import ClaimScan
from reactorcide.worker.direct_errors import our_errors
from reactorcide.worker.latest_jobs import Latest
from reactorcide.worker.settings import WorkerSettings

_MOST: Final = 500
"""A statement for more gains nothing, and while one claim is written others are run."""
_FEW: Final = 8
"""Of commands, and of several queues: where more have come, to look and then to claim is better.
Of each queue so many are locked until the best of all are known."""
_MET_SECONDS: Final = 10.0
"""So long those that a worker met are taken to be there still; then a claim in vain tells it."""


class FirstClaim(NamedTuple):
    """Which jobs were claimed, best first, and what there is to know of all of them."""

    found: list[Suggested]
    """As they stood, at the versions that they have now."""
    model: JobState
    """How they stand now, but for what was asked for."""
    has_more: bool
    has_left: bool
    """Some that came first are left to who looks."""
    recorded_at: datetime


class FirstClaims:
    """One worker's claims of this kind; one at a time."""

    def __init__(
        self, lane: Lane, context: Context, settings: WorkerSettings, command: ClaimJob
    ) -> None:
        """`command` is what is asked for each time: the rules are asked once for all of them."""
        before = _new_job()
        (event,) = JOB.decide(before, command)
        self._said = JOB.stream_type, *encode(NO_ID, event)[1:]
        self._model = JOB.evolve(before, event)
        self._holder = command.worker_id, command.lease_seconds
        self._lane = lane
        self._context = context
        self._queues = settings.queues
        self._labels = json.dumps(dict(settings.labels))
        self._is_for_many = len(settings.queues) == 1 and bool(settings.handlers)
        self._has_met_commands = False
        self._met_at = float("-inf")
        self._scan = ClaimScan()

    def meet(self) -> None:
        """Learn that others took what this worker had seen and wanted."""
        self._met_at = time.monotonic()

    @property
    def is_usual(self) -> bool:
        """Whether to claim so though nobody rang, and many at a time.

        Among others, that is: a lone worker looks for the next while claims are written. Commands
        rather not: who looks at them first starts them by the claim's statement.
        """
        is_among_others = time.monotonic() - self._met_at < _MET_SECONDS
        return is_among_others and self._is_for_many and not self._has_met_commands

    async def claim(self, slots: int) -> FirstClaim | None:
        """Claim up to `slots` jobs, some hundreds at most; None: it is left to who looks."""
        most = min(slots, _MOST if self.is_usual else _FEW)
        began = time.monotonic()
        if self._scan.is_due(began):
            self._scan.restart()
        after = self._scan.after
        if after is not None:
            choice = job_rows.FIRST_AFTER
        else:
            choice = job_rows.FIRST_OF_ONE if len(self._queues) == 1 else job_rows.FIRST
        claimed = await self._claim(choice, self._queues, most, *(after or ()))
        if claimed is None:
            return None
        found, chosen, recorded_at = claimed
        is_full, has_left = len(found) == most, len(found) < chosen
        self._learn(found, began, is_full=is_full)
        has_more = is_full or has_left or after is not None
        return FirstClaim(found, self._model, has_more, has_left, recorded_at)

    async def claim_latest(self, slots: int, latest: Latest) -> FirstClaim | None:
        """Claim up to `slots` of what came lately; None: it is left to who looks from the top."""
        queues, *begin = latest
        most = min(slots, max(_MOST // len(queues), _FEW))
        claimed = await self._claim(job_rows.FIRST_LATELY, queues, most, *begin)
        if claimed is None:
            return None
        found, chosen, recorded_at = claimed
        has_left = len(found) < chosen
        return FirstClaim(found, self._model, len(found) == most, has_left, recorded_at)

    async def _claim(
        self, choice: Choice, queues: Sequence[str], most: int, *begin: object
    ) -> FirstClaimed | None:
        append = AppendToFound(*self._said, self._context, new_beginning())
        arguments = queues, self._labels, most, *self._holder, *begin
        with our_errors():
            rows = await store.append_to_found(self._lane.fetch_kept, append, choice, arguments)
        return job_suggestions.first_claimed(rows)

    def _learn(self, found: list[Suggested], began: float, *, is_full: bool) -> None:
        """Take note of where to go on, and of what kind they are."""
        if found:
            self._has_met_commands = any(job.submitted.handler is None for job in found)
        last = None
        if is_full and self.is_usual:
            last = found[-1].submitted.priority, found[-1].job_id
        now = time.monotonic()
        self._scan.found(last, now, now - began)


@cache
def _new_job() -> JobState:
    """Return how a job stands that nothing holds back and nobody has claimed."""
    return JOB.evolve(JOB.initial, JobSubmitted(user_id=UUID(int=0), name="some"))
