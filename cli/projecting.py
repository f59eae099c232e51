"""The asynchronous projections as a process: the log is followed until a signal ends it."""

import asyncio
import signal

import structlog

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.migrations.schema import check_schema
from reactorcide.projections.runner import SUBSCRIPTIONS, Runner

log = structlog.get_logger("reactorcide.cli")


async def project_until_stopped(database_uri: str) -> None:
    """Run them all until SIGTERM or SIGINT.

    Raises MigrationError when the schema is another version's, and DatabaseUnavailable.
    """
    await check_schema(database_uri)
    database = Database(database_uri)
    running = asyncio.current_task()
    assert running is not None  # noqa: S101  a coroutine runs in a task
    came = False

    def take_signal() -> None:
        nonlocal came
        came = True
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, take_signal)
    try:
        async with Doorbell(database, ["events"]) as doorbell, asyncio.TaskGroup() as group:
            for subscription in SUBSCRIPTIONS:
                group.create_task(Runner(database, doorbell, subscription).run())
            names = [subscription.name for subscription in SUBSCRIPTIONS]
            log.info("projections_started", projections=names)
    except asyncio.CancelledError:
        if not came:
            raise
    log.info("projections_stopped")
