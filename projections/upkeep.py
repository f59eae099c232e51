"""What any process may notice and record: jobs that are due, wait in vain, or lost their lease.

Every API and worker process runs it; no leader is needed. The tables only suggest and the log
decides: when two notice the same thing, one append holds and the other is a conflict, which
is no error. It holds no rule: what follows from what was noticed is decided by the job's. It
also adds up what appends noted about the counts of queues.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import attrgetter
from types import TracebackType
from typing import Final, Self, TypeAlias

import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, Reader, database_errors
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.job import (
    JOB,
    CancelDependent,
    ExpireLease,
    JobCommand,
    JobState,
    QueueJob,
)
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import AppendDoor, Change, decided
from reactorcide.eventstore.record import SYSTEM, Append, Appended, Context
from reactorcide.projections import due_jobs, idempotency, queues
from reactorcide.projections.causes import Cause, ends_of
from reactorcide.projections.jobs import Job

_BATCH: Final = 500
_PAUSE_SECONDS: Final = 1.0
_SETTLING_SECONDS: Final = 0.1
_PRUNE_SECONDS: Final = 600.0
_NOTES: Final = 5000
_NOTES_BATCHES: Final = 20
_EFFORT: Final = 10.0
_LOST_SECONDS: Final = 2.0
"""Lost leases are looked for this often at least: a dead worker's job is to run again soon."""
_HEARING_SECONDS: Final = 2.0
"""After the database was away, workers that live are heard before any lease is called lost."""

_log = structlog.get_logger(__name__)

_Noticed: TypeAlias = list[tuple[Job, JobCommand, Context]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What one pass recorded; what others recorded first does not count."""

    queued: int
    cancelled: int
    expired: int

    def __bool__(self) -> bool:
        return bool(self.queued or self.cancelled or self.expired)


class Effort:
    """Spends at most a tenth of the time on one thing, however long that takes.

    What looks for something walks over what is gone but not yet vacuumed, and where somebody
    keeps the vacuum from it that is more each minute: then it is looked for less often.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before: dict[str, float] = {}

    async def spend(
        self,
        thing: str,
        work: Callable[[], Awaitable[int]],
        longest_pause_seconds: float = float("inf"),
        *,
        at_least: float = 0.0,
    ) -> int:
        """Do the work and return what it did; do nothing and return 0 if it is too early.

        The pause that follows is `at_least` so many seconds long.
        """
        began = self._clock()
        if began < self._not_before.get(thing, began):
            return 0
        done = await work()
        ended = self._clock()
        pause = min(max((ended - began) * _EFFORT, at_least), longest_pause_seconds)
        self._not_before[thing] = ended + pause
        return done

    def put_off(self, thing: str, seconds: float) -> None:
        """Do nothing about it for so long."""
        self._not_before[thing] = self._clock() + seconds


async def upkeep(
    read: Reader,
    write: AppendDoor[JobState],
    effort: Effort | None = None,
    *,
    has_waiting: bool = True,
) -> Kept:
    """Queue what is due, cancel what waits in vain, expire lost leases: all there is now.

    Nothing is asked of jobs that wait where there are none. Lost leases may be left to a later
    call with the same `effort`. Raises DatabaseError.
    """
    spent = effort or Effort()
    return Kept(
        queued=await _keep(read, write, _due) if has_waiting else 0,
        cancelled=await _keep(read, write, _blocked) if has_waiting else 0,
        expired=await spent.spend("lost", lambda: _keep(read, write, _lost), _LOST_SECONDS),
    )


async def add_up(read: Reader) -> int:
    """Add up what was noted about the counts of queues, in batches; return how many notes it took.

    When somebody else is at it there is nothing to do. Raises DatabaseError.
    """
    taken = 0
    with database_errors():
        for _ in range(_NOTES_BATCHES):
            batch = await queues.add_up(read, _NOTES)
            taken += batch
            if batch < _NOTES:
                break
    return taken


async def _due(read: Reader) -> _Noticed:
    found = await due_jobs.due(read, _BATCH)
    now = await _now(read) if found else None
    ends = await ends_of(read, (one for job in found for one in job.submitted.depends_on))
    return [
        (
            job,
            QueueJob(now, frozenset(job.submitted.depends_on)),
            _because_of([ends[one] for one in job.submitted.depends_on if one in ends]),
        )
        for job in found
        if now
    ]


async def _blocked(read: Reader) -> _Noticed:
    found = await due_jobs.blocked(read, _BATCH)
    ends = await ends_of(read, (dependency for _, dependency, _ in found))
    return [
        (
            job,
            CancelDependent(dependency, status),
            _because_of([ends[dependency]] if dependency in ends else []),
        )
        for job, dependency, status in found
    ]


async def _lost(read: Reader) -> _Noticed:
    found = await due_jobs.held_without_lease(read, _BATCH)
    now = await _now(read) if found else None
    return [
        (job, ExpireLease(job.state.attempt, now, job.started_at, random.uniform(-1, 1)), SYSTEM)  # noqa: S311  no secret
        for job in found
        if now
    ]


async def _now(read: Reader) -> datetime:
    """Return the database's time: rules get no other."""
    now: datetime = await read.fetchval("SELECT now()")
    return now


async def _keep(
    read: Reader, write: AppendDoor[JobState], notice: Callable[[Reader], Awaitable[_Noticed]]
) -> int:
    """Record what `notice` sees, batch by batch; return how many appends held."""
    kept = 0
    while True:
        with database_errors():
            noticed = await notice(read)
        units = [unit for one in noticed for unit in _decided(*one)]
        results = await write.append(units) if units else []
        held = sum(isinstance(result, Appended) for result in results)
        kept += held
        if len(noticed) < _BATCH or not held:
            return kept


def _because_of(causes: Sequence[Cause]) -> Context:
    """Return who acts when the last of these has happened."""
    if not causes:
        return SYSTEM
    cause = max(causes, key=attrgetter("position"))
    return Context(correlation_id=cause.correlation_id, causation_id=cause.event_id)


def _decided(
    job: Job, command: JobCommand, context: Context
) -> Iterator[tuple[Append, Change[JobState]]]:
    """Decide by the row. One that the rules refuse must not hold up the others."""
    try:
        unit = decided(JOB, job.state, job.version, job.job_id, command, context)
    except CommandRejected as error:
        _log.warning("upkeep_refused", stream_id=str(job.job_id), detail=error.detail)
        return
    if unit is not None:
        yield unit


class Upkeep:
    """Runs `upkeep` about once a second, when something is due, and when rung for.

    Use it as an async context manager; it owns a task. A database that is away is waited for.
    """

    def __init__(self, pool: Pool, write: AppendDoor[JobState], doorbell: Doorbell) -> None:
        self._pool = pool
        self._write = write
        self._doorbell = doorbell
        self._background = Background({"upkeep": self._serve})
        self._pruned_at = time.monotonic()
        self._effort = Effort()
        self._due_since: datetime | None = None

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
        """Stop; what was handed to the appender is still written."""
        await self._background.stop()

    async def _serve(self) -> None:
        with self._doorbell.listen("jobs", "events") as listener:
            self._effort.put_off("lost", _HEARING_SECONDS)
            while True:
                pause = _PAUSE_SECONDS
                try:
                    pause = await self._pass()
                except DatabaseError as error:
                    _log.warning("upkeep_failed", detail=error.detail)
                    self._effort.put_off("lost", _HEARING_SECONDS)
                await listener.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  no secret
                # Who rang has better to do just now, and a busy system rings all the time.
                await asyncio.sleep(_SETTLING_SECONDS)

    async def _pass(self) -> float:
        """Make one pass, ring for what it made; return how many seconds the next may wait."""
        with database_errors():
            due = await due_jobs.next_due(self._pool, self._due_since)
        kept = await upkeep(self._pool, self._write, self._effort, has_waiting=due.has_waiting)
        self._due_since = due.asked_at  # what it told is done
        if kept.queued or kept.expired:
            self._doorbell.ring("jobs")
        if kept:
            self._doorbell.ring("events")
            _log.info("upkeep_done", **asdict(kept))
        await self._effort.spend("add_up", lambda: add_up(self._pool), at_least=_PAUSE_SECONDS)
        with database_errors():
            await self._prune()
        seconds = _PAUSE_SECONDS if due.in_seconds is None else due.in_seconds
        return min(max(seconds, 0.0), _PAUSE_SECONDS)

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_at > _PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            await idempotency.prune(self._pool)
            await queues.forget_empty(self._pool)
