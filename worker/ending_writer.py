"""Writes how attempts ended: many in one statement, where they ended alike.

It decides nothing and waits for nobody; which of them go together is said by who calls.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import starmap
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.job import Completed, FinishAttempt, JobState, Status
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.worker.coordinator import AttemptKey, Report
from reactorcide.worker.holdings import Holdings

Finish: TypeAlias = Callable[[UUID, FinishAttempt], Awaitable[JobState]]
"""Ends a lone attempt, by what the log says where it must. Raises CommandRejected."""


class _Ending(NamedTuple):
    """What completions without a result may differ in."""

    attempt: int
    exit_code: int | None


_MANY: Final = 16
_MANY_SECONDS: Final = 0.03
"""Who follows so many jobs hears of some more at once."""


class EndingWriter:
    """Writes for one worker; `now` returns the database's time."""

    def __init__(
        self, holdings: Holdings, finish: Finish, doorbell: Doorbell, now: Callable[[], datetime]
    ) -> None:
        self._holdings = holdings
        self._finish = finish
        self._doorbell = doorbell
        self._now = now

    async def write(self, reports: Sequence[Report]) -> Mapping[AttemptKey, CommandRejected]:
        """Record what the rules make of the outcomes, alike ones in one statement."""
        alike, others = _alike_in(reports)
        decided = (self._holdings.decided(one.key.job_id, self._finishing(one)) for one in others)
        units = [unit for unit in decided if unit is not None]
        if len(alike) == 1 and not units:
            settled = await self._complete(*alike.popitem())
        else:
            heard = await asyncio.gather(
                self._holdings.append(units), *starmap(self._complete, alike.items())
            )
            settled = frozenset[UUID]().union(*heard)
        left: list[Report] = []
        if len(settled) < len(reports):
            left = [report for report in reports if report.key.job_id not in settled]
        refused = await self._finish_each(left) if left else {}
        self._holdings.forget([job_id for (job_id, _), _ in reports])
        within_seconds = _MANY_SECONDS if len(reports) >= _MANY else 0.0
        self._ring_ended([change.state for _, change in units], within_seconds)
        return refused

    async def _complete(self, ending: _Ending, job_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Record completions that say the same."""
        report = Report(AttemptKey(job_ids[0], ending.attempt), Completed(None, ending.exit_code))
        return await self._holdings.complete(job_ids, self._finishing(report))

    async def _finish_each(self, reports: Sequence[Report]) -> dict[AttemptKey, CommandRejected]:
        """Record outcomes of which this worker's knowledge is out of date, all at once.

        Most often it has learned meanwhile what it did not know, and they are written together.
        """
        results = await asyncio.gather(
            *(self._finish(one.key.job_id, self._finishing(one)) for one in reports),
            return_exceptions=True,
        )
        refused = {}
        for report, result in zip(reports, results, strict=True):
            if isinstance(result, CommandRejected):
                refused[report.key] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                self._ring_ended([result])
        return refused

    async def write_late(self, worker_id: UUID, report: Report) -> None:
        """Record an outcome if the worker that ran the attempt still holds it."""
        command = replace(self._finishing(report), worker_id=worker_id)
        state = await self._finish(report.key.job_id, command)
        self._holdings.forget((report.key.job_id,))
        self._ring_ended([state])

    def _finishing(self, report: Report) -> FinishAttempt:
        jitter = random.uniform(-1, 1)  # noqa: S311  spreads retries, hides nothing
        return FinishAttempt(report.key.attempt, report.outcome, self._now(), jitter)

    def _ring_ended(self, states: Sequence[JobState], within_seconds: float = 0.0) -> None:
        self._doorbell.ring("events", within_seconds)
        self._doorbell.ring("logs", within_seconds)
        if any(state.status is Status.QUEUED for state in states):
            self._doorbell.ring("jobs")


def _alike_in(reports: Sequence[Report]) -> tuple[dict[_Ending, list[UUID]], list[Report]]:
    """Return the jobs that completed without a result, by how they did, and all other reports."""
    alike: dict[_Ending, list[UUID]] = {}
    others: list[Report] = []
    last, last_attempt, job_ids = None, 0, list[UUID]()
    for report in reports:
        (job_id, attempt), outcome = report
        if outcome is not last or attempt != last_attempt:  # most end by the same value
            if not isinstance(outcome, Completed) or outcome.result is not None:
                others.append(report)
                continue
            last, last_attempt = outcome, attempt
            job_ids = alike.setdefault(_Ending(attempt, outcome.exit_code), [])
        job_ids.append(job_id)
    return alike, others
