"""The asynchronous projections as a process: the log is followed until a signal ends it."""

import asyncio
import signal

import structlog

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.migrations.schema import check_schema
from reactorcide.projections.checkpoint_copies import CheckpointCopies
from reactorcide.projections.runner import FOLLOWING, SUBSCRIPTIONS, Runner
from reactorcide.projections.sealer import LogSealer

log = structlog.get_logger("reactorcide.cli")


async def project_until_stopped(
    database_uri: str, log_key: bytes, object_store_url: str, *, is_key_new: bool
) -> None:
    """Run them all, and seal the log, until SIGTERM or SIGINT.

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
        async with (
            CheckpointCopies(ObjectStore(object_store_url)) as copies,
            Doorbell(database, ["events"]) as doorbell,
            asyncio.TaskGroup() as group,
        ):
            sealer = LogSealer(log_key, copies.offer, is_key_new=is_key_new)
            for follower in (*SUBSCRIPTIONS, sealer):
                group.create_task(Runner(database, doorbell, follower).run())
            log.info("projections_started", projections=FOLLOWING)
    except asyncio.CancelledError:
        if not came:
            raise
    log.info("projections_stopped")
