"""The coordinator of workers that may open the database: reads tables, appends to the log.

It decides nothing: the read tables suggest, the rules decide, and the log says who was first.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import (
    PLANNED_ONCE,
    Database,
    Pool,
    database_errors,
)
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.eventstore.domain.job import (
    JOB,
    FinishAttempt,
    JobState,
    Outcome,
    StartJob,
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
    TransactionDoor,
    handle,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.record import Context
from reactorcide.eventstore.sealing import SealBroken, Sealer
from reactorcide.projections import due_jobs, job_rows, workers
from reactorcide.projections.object_upkeep import ObjectUpkeep
from reactorcide.projections.upkeep import Upkeep
from reactorcide.worker.artifact_records import ArtifactRecords
from reactorcide.worker.claiming import Claims
from reactorcide.worker.coordinator import (
    AttemptKey,
    Beater,
    Chunk,
    Claim,
    ClaimedAttempt,
    Report,
    SecretsUnreadable,
)
from reactorcide.worker.direct_beater import open_beater
from reactorcide.worker.direct_errors import our_errors
from reactorcide.worker.ending_writer import EndingWriter
from reactorcide.worker.endings import Endings
from reactorcide.worker.holdings import Holdings
from reactorcide.worker.log_writer import LogWriter
from reactorcide.worker.secrets import NO_SECRETS, Secrets, open_all
from reactorcide.worker.settings import WorkerSettings

_APPEND_CONNECTIONS: Final = 3
_READ_CONNECTIONS: Final = 4
_READ_SECONDS: Final = 10.0
"""A look without an answer is given up by then, to be tried again."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Doors:
    """What a coordinator of this kind works with; open as long as it lives."""

    database: Database
    read: Pool
    write: Appender[JobState]
    doorbell: Doorbell
    work: Listener
    control: Listener


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
        self._log = LogWriter(doors.read)
        self.objects = ObjectStore(settings.object_store_url)
        self.artifacts = ArtifactRecords(doors.read, self.objects)
        self._clock_ahead = timedelta(0)
        self._holdings = holdings = Holdings(doors.write, self._context, self._learn_time)
        with_whom = doors.database, doors.read, holdings, doors.doorbell, self._now
        self._claims = Claims(settings, worker_id, *with_whom)
        self._ending_writer = EndingWriter(self._holdings, self._command, doors.doorbell, self._now)
        self._endings = Endings(self._ending_writer.write)
        self._due_since = _LONG_AGO
        # While its attempt works with them.
        self._secrets: WeakValueDictionary[AttemptKey, Secrets] = WeakValueDictionary()

    async def connect(self) -> None:
        """Connect, so that no look for jobs has to. Raises DatabaseUnavailable."""
        await self._claims.connect()

    async def register(self, registered: WorkerRegistered) -> None:
        """Record `worker.registered`."""
        await self._record(RegisterWorker(registered))

    async def drain(self) -> None:
        """Record `worker.drained`."""
        await self._record(DrainWorker())

    async def stop(self, reason: str) -> None:
        """Record `worker.stopped`."""
        await self._record(StopWorker(reason))

    async def claim(self, slots: int, *, is_woken: bool = False) -> Claim:
        """Let the table suggest jobs, and take those that nobody else took first."""
        claim = Claim((), has_more=False)
        try:
            claim = await self._claims.claim(slots, is_woken=is_woken)
        finally:
            self._endings.expect(more=claim.has_more)
        return claim

    async def open_secrets(self, claimed: ClaimedAttempt) -> Secrets:
        """Open the sealed values with this worker's key."""
        sealed = claimed.submitted.sealed_env_vars
        if not sealed:
            return NO_SECRETS
        if self._sealer is None:
            raise SecretsUnreadable(min(sealed), "this worker has no key")
        try:
            values = {name: self._sealer.open(value, name) for name, value in sealed.items()}
        except SealBroken as error:
            raise SecretsUnreadable(error.name, str(error)) from error
        self._secrets[claimed.key] = secrets = await open_all(values)
        return secrets

    async def start(self, key: AttemptKey) -> None:
        """Record `job.started`."""
        await self._command(key.job_id, StartJob(key.attempt))

    async def start_all(self, keys: Sequence[AttemptKey]) -> None:
        """Record `job.started` of those that are still held."""
        decided = (self._holdings.decided(key.job_id, StartJob(key.attempt)) for key in keys)
        await self._holdings.append([unit for unit in decided if unit is not None])
        self._doors.doorbell.ring("events")

    async def finish(self, key: AttemptKey, outcome: Outcome) -> None:
        """Record what the rules make of the outcome, with those of others that end meanwhile."""
        try:
            await self._endings.finish(Report(key, outcome))
        finally:
            self._holdings.forget((key.job_id,))

    async def finish_all(self, reports: Sequence[Report]) -> Mapping[AttemptKey, CommandRejected]:
        """Record what the rules make of the outcomes, alike ones in one statement."""
        return await self._ending_writer.write(reports)

    async def finish_late(self, worker_id: UUID, report: Report) -> None:
        """Record an outcome if the worker that ran the attempt still holds it."""
        await self._ending_writer.write_late(worker_id, report)

    def open_beater(self) -> AbstractAsyncContextManager[Beater]:
        """Renew leases on a connection of its own."""
        return open_beater(
            self._doors.database,
            self.worker_id,
            self._settings.lease_seconds,
            self._claims.know,
        )

    async def log(self, key: AttemptKey, chunks: Sequence[Chunk]) -> None:
        """Write chunks, then wake who follows logs."""
        secrets = self._secrets.get(key)
        if secrets is not None:
            chunks = [chunk._replace(data=secrets.hide_bytes(chunk.data)) for chunk in chunks]
        with our_errors():
            await self._log.write(key, chunks)
        self._doors.doorbell.ring("logs")

    async def close(self) -> None:
        """Ask for nothing and say nothing any more; the doors stay open."""
        await self._endings.close()
        await self._claims.close()

    async def wait_for_work(self, timeout_seconds: float) -> bool:
        """Wait for a ring of `jobs`."""
        return await self._doors.work.wait(timeout_seconds)

    async def wait_for_control(self, timeout_seconds: float) -> None:
        """Wait for a ring of `control`."""
        await self._doors.control.wait(timeout_seconds)

    async def _command(self, job_id: UUID, command: StartJob | FinishAttempt) -> JobState:
        """Decide by what is known of the job; somebody else's event makes it read again."""
        unit = self._holdings.decided(job_id, command)
        if unit is not None and await self._holdings.append([unit]):
            self._doors.doorbell.ring("events")
            return unit[1].state
        with our_errors():
            handled = await handle(
                self._doors.read, self._doors.write, JOB, job_id, command, self._context
            )
        self._holdings.learn(job_id, handled.version, handled.state)
        self._doors.doorbell.ring("events")
        return handled.state

    async def _record(self, command: WorkerCommand) -> None:
        with our_errors(), database_errors():
            async with self._doors.read.acquire() as connection:
                door = TransactionDoor(connection, workers.rows)
                handled = await handle(
                    connection, door, WORKER, self.worker_id, command, self._context
                )
        if handled.recorded_at is not None:
            self._learn_time(handled.recorded_at)
        self._doors.doorbell.ring("events")

    async def next_due_seconds(self) -> float | None:
        """Ask the table; what fell due since the last question is told once, as due."""
        with our_errors(), database_errors():
            due = await due_jobs.next_due(self._doors.read, self._due_since)
        self._due_since = due.asked_at
        return min(
            (one for one in (due.in_seconds, self._claims.look_in()) if one is not None),
            default=None,
        )

    def _now(self) -> datetime:
        """Return the database's time, as far as the last answer told."""
        return datetime.now(UTC) + self._clock_ahead

    def _learn_time(self, recorded_at: datetime) -> None:
        self._clock_ahead = recorded_at - datetime.now(UTC)


@asynccontextmanager
async def open_coordinator(
    settings: WorkerSettings, database: Database, sealer: Sealer | None
) -> AsyncIterator[DirectCoordinator]:
    """Connect, and look after what any program may look after (`Upkeep`) meanwhile.

    Raises DatabaseUnavailable.
    """
    async with AsyncExitStack() as stack:
        pool = await database.create_pool(1, _READ_CONNECTIONS, _READ_SECONDS, **PLANNED_ONCE)
        stack.push_async_callback(pool.close)
        write = await stack.enter_async_context(
            Appender(database, job_rows.rows, _APPEND_CONNECTIONS, job_rows.kind_of)
        )
        doorbell = await stack.enter_async_context(
            Doorbell(database, ("jobs", "control", "events"))
        )
        await stack.enter_async_context(Upkeep(pool, write, doorbell))
        work = stack.enter_context(doorbell.listen("jobs"))
        control = stack.enter_context(doorbell.listen("control"))
        doors = Doors(database, pool, write, doorbell, work, control)
        coordinator = DirectCoordinator(settings, doors, sealer, new_id())
        stack.push_async_callback(coordinator.close)
        await coordinator.connect()
        await stack.enter_async_context(ObjectUpkeep(pool, coordinator.objects))
        yield coordinator
