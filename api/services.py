"""All that handlers work with, opened together and closed together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from reactorcide.api.accesses import Accesses
from reactorcide.api.authentication import Authenticator
from reactorcide.api.events.watcher import Watcher
from reactorcide.api.feed import Feed
from reactorcide.api.limits import Limiter, Window
from reactorcide.api.metrics import Metrics
from reactorcide.api.settings import ApiSettings
from reactorcide.api.token_uses import TokenUses
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.job import JobState
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.sealing import Sealer
from reactorcide.projections import job_rows
from reactorcide.projections.checkpoint_copies import CheckpointCopies
from reactorcide.projections.logs import Logs
from reactorcide.projections.object_upkeep import ObjectUpkeep
from reactorcide.projections.runner import SUBSCRIPTIONS, Runner
from reactorcide.projections.sealer import LogSealer
from reactorcide.projections.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Services:
    """What one API process holds open."""

    settings: ApiSettings
    pool: Pool
    """For reads, and for commands that need a transaction of their own."""
    jobs: Appender[JobState]
    """The door for commands to jobs: those that arrive together are written together."""
    doorbell: Doorbell
    sealer: Sealer
    authenticator: Authenticator
    limiter: Limiter[UUID] | None
    metrics: Metrics
    feed: Feed
    objects: ObjectStore
    """Where artifacts lie, and logs that have ended."""
    logs: Logs
    events: Watcher
    accesses: Accesses
    """Who was turned away, and who read what of others."""

    def announce_rights(self) -> None:
        """Make a committed change of rights be felt at once: here, and by open streams."""
        self.authenticator.forget()
        self.doorbell.ring("control")
        self.doorbell.ring("events")


@asynccontextmanager
async def open_services(settings: ApiSettings) -> AsyncIterator[Services]:
    """Connect and start what runs beside the requests. Raises DatabaseUnavailable."""
    database = Database(settings.database_uri)
    async with AsyncExitStack() as stack:
        pool = await database.create_pool(0, settings.pool_size)
        stack.push_async_callback(pool.close)
        connections = settings.appender_connections
        appender = await stack.enter_async_context(
            Appender(database, job_rows.rows, connections, job_rows.kind_of)
        )
        doorbell = await stack.enter_async_context(Doorbell(database))
        accesses = await stack.enter_async_context(
            Accesses(pool, doorbell, settings.accesses_seconds)
        )
        uses = await stack.enter_async_context(TokenUses(pool))
        await stack.enter_async_context(Upkeep(pool, appender, doorbell))
        objects = ObjectStore(settings.object_store_url)
        await stack.enter_async_context(ObjectUpkeep(pool, objects, is_reader=True))
        for subscription in SUBSCRIPTIONS:
            await stack.enter_async_context(Runner(database, doorbell, subscription))
        if settings.log_key is not None:
            copies = await stack.enter_async_context(CheckpointCopies(objects))
            sealer = LogSealer(settings.log_key, copies.offer)
            await stack.enter_async_context(Runner(database, doorbell, sealer))
        authenticator = Authenticator(pool, Window("failures", settings.failures_limit), uses)
        feed = await stack.enter_async_context(Feed(pool, doorbell, authenticator))
        events = await stack.enter_async_context(Watcher(pool, doorbell, authenticator))
        rate = settings.rate_limit
        yield Services(
            settings=settings,
            pool=pool,
            jobs=appender,
            doorbell=doorbell,
            sealer=Sealer(settings.secret_key),
            authenticator=authenticator,
            limiter=Limiter("default", rate) if rate else None,
            metrics=Metrics(),
            feed=feed,
            objects=objects,
            logs=Logs(pool, objects),
            events=events,
            accesses=accesses,
        )
