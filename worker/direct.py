"""The coordinator of workers that may open the database: reads tables, appends to the log.

It decides nothing: the read tables suggest, the rules decide, and the log says who was first.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import (
    Database,
    DatabaseError,
    Pool,
    StatementRefused,
    database_errors,
)
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.eventstore.domain.job import (
    JOB,
    ClaimJob,
    FinishAttempt,
    JobState,
    Outcome,
    StartJob,
    Status,
)
from reactorcide.eventstore.domain.worker import (
    WORKER,
    DrainWorker,
    RegisterWorker,
    StopWorker,
    WorkerCommand,
)
from reactorcide.eventstore.doorbell import Doorbell, Listener
from reactorcide.eventstore.handle import (
    AppendDoor,
    Change,
    ConflictPersists,
    TransactionDoor,
    decided,
    handle,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Append, Appended, Context
from reactorcide.eventstore.sealing import SealBroken, Sealer
from reactorcide.projections import jobs, leases, workers
from reactorcide.projections.jobs import Job
from reactorcide.projections.upkeep import Upkeep
from reactorcide.worker.claim_window import ClaimWindow
from reactorcide.worker.coordinator import (
    AttemptKey,
    Chunk,
    Claim,
    ClaimedAttempt,
    CoordinatorUnavailable,
    SecretsUnreadable,
)
from reactorcide.worker.log_writer import LogWriter
from reactorcide.worker.settings import WorkerSettings

_APPEND_CONNECTIONS: Final = 2
_READ_CONNECTIONS: Final = 4
_CLOSE_SECONDS: Final = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Doors:
    """What a coordinator of this kind works with; open as long as it lives."""

    read: Pool
    write: AppendDoor[JobState]
    doorbell: Doorbell
    work: Listener
    control: Listener


@dataclass(frozen=True, slots=True)
class _Held:
    """A job as this worker last saw it."""

    state: JobState
    version: int


class DirectCoordinator:
    """One worker's coordinator on PostgreSQL; see Coordinator. Made by `open_coordinator`."""

    def __init__(
        self, settings: WorkerSettings, doors: Doors, sealer: Sealer | None, worker_id: UUID
    ) -> None:
        self.worker_id = worker_id
        self._settings = settings
        self._doors = doors
        self._sealer = sealer
        self._context = Context(actor_type="worker", actor_id=worker_id)
        self._window = ClaimWindow()
        self._log = LogWriter(doors.read)
        self._held: dict[UUID, _Held] = {}
        self._clock_ahead = timedelta(0)

    async def register(self, registered: WorkerRegistered) -> None:
        """Record `worker.registered`."""
        await self._record(RegisterWorker(registered))

    async def drain(self) -> None:
        """Record `worker.drained`."""
        await self._record(DrainWorker())

    async def stop(self, reason: str) -> None:
        """Record `worker.stopped`."""
        await self._record(StopWorker(reason))

    async def claim(self, slots: int) -> Claim:
        """Let the table suggest jobs, and take those that nobody else took first."""
        limit = self._window.limit(slots)
        with _our_errors(), database_errors():
            found = await jobs.claimable(
                self._doors.read, self._settings.queues, self._settings.labels, limit
            )
            if not found:
                return Claim((), has_more=False, next_due_seconds=await self._next_due_seconds())
        wanted = self._window.choose(found, slots)
        taken, met_others = await self._take(wanted)
        self._window.learn(met_others=met_others)
        has_more = met_others or (bool(taken) and len(found) == limit)
        return Claim(tuple(taken), has_more, None if has_more else await self._next_due_seconds())

    async def open_secrets(self, claimed: ClaimedAttempt) -> Mapping[str, str]:
        """Open the sealed values with this worker's key."""
        sealed = claimed.submitted.sealed_env_vars
        if not sealed:
            return {}
        if self._sealer is None:
            raise SecretsUnreadable(min(sealed), "this worker has no key")
        try:
            return {name: self._sealer.open(value, name) for name, value in sealed.items()}
        except SealBroken as error:
            raise SecretsUnreadable(error.name, str(error)) from error

    async def start(self, key: AttemptKey) -> None:
        """Record `job.started`."""
        await self._command(key.job_id, StartJob(key.attempt))

    async def finish(self, key: AttemptKey, outcome: Outcome) -> None:
        """Record what the rules make of the outcome."""
        jitter = random.uniform(-1, 1)  # noqa: S311  spreads retries, hides nothing
        command = FinishAttempt(key.attempt, outcome, self._now(), jitter)
        try:
            state = await self._command(key.job_id, command)
        finally:
            self._held.pop(key.job_id, None)
        self._doors.doorbell.ring("logs")
        if state.status is Status.QUEUED:
            self._doors.doorbell.ring("jobs")

    async def beat(self, keys: Sequence[AttemptKey]) -> Mapping[AttemptKey, int | None]:
        """Renew leases by the database's clock, in one statement."""
        with _our_errors(), database_errors():
            held = await leases.beat(
                self._doors.read, self.worker_id, keys, self._settings.lease_seconds
            )
        return {AttemptKey(*key): one.cancel_grace_seconds for key, one in held.items()}

    async def log(self, key: AttemptKey, chunks: Sequence[Chunk]) -> None:
        """Write chunks, then wake who follows logs."""
        with _our_errors():
            await self._log.write(key, chunks)
        self._doors.doorbell.ring("logs")

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Wait for a ring of `jobs`."""
        await self._doors.work.wait(timeout_seconds)

    async def wait_for_control(self, timeout_seconds: float) -> None:
        """Wait for a ring of `control`."""
        await self._doors.control.wait(timeout_seconds)

    async def _take(self, wanted: Sequence[Job]) -> tuple[list[ClaimedAttempt], bool]:
        """Claim jobs, all in one append; return those won, and whether others won some."""
        units = [unit for job in wanted if (unit := self._claim_of(job)) is not None]
        with _our_errors():
            results = await self._doors.write.append(units)
        taken: list[ClaimedAttempt] = []
        for (_, change), result in zip(units, results, strict=True):
            submitted = change.state.submitted
            if isinstance(result, Appended) and submitted is not None:
                self._learn_time(result.recorded_at)
                self._held[change.stream_id] = _Held(change.state, change.version)
                key = AttemptKey(change.stream_id, change.state.attempt)
                taken.append(ClaimedAttempt(key, submitted))
        if taken:
            self._doors.doorbell.ring("events")
        return taken, len(taken) < len(units)

    def _claim_of(self, job: Job) -> tuple[Append, Change[JobState]] | None:
        """Decide a claim by the job's row; None when the rules refuse it."""
        # The database found the job's time to have come, by the clock that counts.
        now = max(self._now(), job.state.available_at or datetime.min.replace(tzinfo=UTC))
        command = ClaimJob(self.worker_id, self._settings.lease_seconds, now)
        try:
            return decided(JOB, job.state, job.version, job.job_id, command, self._context)
        except CommandRejected:
            return None

    async def _command(self, job_id: UUID, command: StartJob | FinishAttempt) -> JobState:
        """Decide by what is known of the job; somebody else's event makes it read again."""
        held = self._held.get(job_id)
        change = None if held is None else await self._try(job_id, held, command)
        if change is None:
            with _our_errors():
                handled = await handle(
                    self._doors.read, self._doors.write, JOB, job_id, command, self._context
                )
            change = Change(job_id, handled.version, handled.state, handled.events)
        self._held[job_id] = _Held(change.state, change.version)
        self._doors.doorbell.ring("events")
        return change.state

    async def _try(
        self, job_id: UUID, held: _Held, command: StartJob | FinishAttempt
    ) -> Change[JobState] | None:
        """Append by what is known, without reading; None when it is out of date."""
        try:
            unit = decided(JOB, held.state, held.version, job_id, command, self._context)
        except CommandRejected:
            return None
        if unit is None:
            return None
        with _our_errors():
            (result,) = await self._doors.write.append([unit])
        return unit[1] if isinstance(result, Appended) else None

    async def _record(self, command: WorkerCommand) -> None:
        with _our_errors(), database_errors():
            async with self._doors.read.acquire() as connection:
                door = TransactionDoor(connection, workers.rows)
                handled = await handle(
                    connection, door, WORKER, self.worker_id, command, self._context
                )
        if handled.recorded_at is not None:
            self._learn_time(handled.recorded_at)
        self._doors.doorbell.ring("events")

    async def _next_due_seconds(self) -> float | None:
        with _our_errors(), database_errors():
            due_at = await jobs.next_due_at(self._doors.read)
        return None if due_at is None else (due_at - self._now()).total_seconds()

    def _now(self) -> datetime:
        """Return the database's time, as far as the last answer told."""
        return datetime.now(UTC) + self._clock_ahead

    def _learn_time(self, recorded_at: datetime) -> None:
        self._clock_ahead = recorded_at - datetime.now(UTC)


@contextmanager
def _our_errors() -> Iterator[None]:
    """Raise CoordinatorUnavailable for what may be better later."""
    try:
        yield
    except ConflictPersists as error:
        raise CoordinatorUnavailable(str(error)) from error
    except DatabaseError as error:
        if isinstance(error, StatementRefused) and not error.is_transient:
            raise
        raise CoordinatorUnavailable(error.detail) from error


async def _close(pool: Pool) -> None:
    """Close the pool, politely unless that takes long."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@asynccontextmanager
async def open_coordinator(
    settings: WorkerSettings, database: Database, sealer: Sealer | None
) -> AsyncIterator[DirectCoordinator]:
    """Connect, and look after what any program may look after (`Upkeep`) meanwhile.

    Raises DatabaseUnavailable.
    """
    async with AsyncExitStack() as stack:
        pool = await database.create_pool(1, _READ_CONNECTIONS)
        stack.push_async_callback(_close, pool)
        write = await stack.enter_async_context(Appender(database, jobs.rows, _APPEND_CONNECTIONS))
        doorbell = await stack.enter_async_context(
            Doorbell(database, ("jobs", "control", "events"))
        )
        await stack.enter_async_context(Upkeep(pool, write, doorbell))
        work = stack.enter_context(doorbell.listen("jobs"))
        control = stack.enter_context(doorbell.listen("control"))
        doors = Doors(pool, write, doorbell, work, control)
        yield DirectCoordinator(settings, doors, sealer, new_id())
