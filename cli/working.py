"""A worker as a process: settings in, jobs run, until a signal ends it."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from reactorcide.cli import exits
from reactorcide.cli.exits import Stop
from reactorcide.cli.garbage import tune_gc
from reactorcide.cli.local import secret_key_of
from reactorcide.cli.settings import Settings
from reactorcide.eventstore.database import Database, DatabaseUnavailable
from reactorcide.eventstore.sealing import Sealer
from reactorcide.migrations.schema import check_schema
from reactorcide.worker.coordinator import CoordinatorUnavailable
from reactorcide.worker.direct import open_coordinator
from reactorcide.worker.handlers import HandlersUnusable, load
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Runner
from reactorcide.worker.runners import WallSettings, runner_of
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.walls import WallsUnusable
from reactorcide.worker.worker import Worker

_QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a worker."""

    queues: tuple[str, ...]
    concurrency: int | None
    labels: Mapping[str, str]
    name: str | None
    runner: str
    handlers: tuple[str, ...]
    walls: WallSettings = field(default_factory=WallSettings)


def import_handlers(modules: Sequence[str]) -> None:
    """Import them before anything else is done: what is wrong with them is a wrong use."""
    try:
        load(modules)
    except HandlersUnusable as error:
        raise Stop(exits.USAGE, f"--handlers: {error.detail}") from error


async def work_until_stopped(settings: Settings, database_uri: str, asked: Asked) -> None:
    """Run jobs until SIGTERM or SIGINT, then drain; a second signal releases what runs.

    Raises MigrationError when the schema is another version's, and DatabaseUnavailable.
    """
    chosen = _worker_settings(settings, asked)
    sealer = Sealer(secret_key_of(settings))
    await check_schema(database_uri)
    runner = await _runner(asked, chosen.concurrency)
    tune_gc()
    try:
        if not chosen.handlers:
            runner.prepare()  # that takes as long as to connect
        async with open_coordinator(chosen, Database(database_uri), sealer) as coordinator:
            await _work(Worker(chosen, coordinator, runner, load(chosen.handlers)))
    except CoordinatorUnavailable as error:
        raise DatabaseUnavailable(error.detail) from error
    finally:
        await runner.close()


async def _work(worker: Worker) -> None:
    """Let a worker work until signals say otherwise."""
    stop = asyncio.Event()

    def take_signal() -> None:
        if stop.is_set():
            worker.release()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, take_signal)
    await worker.run(stop)


async def _runner(asked: Asked, concurrency: int) -> Runner:
    plain = ProcessRunner(concurrency)
    try:
        return await runner_of(asked.runner, plain, asked.walls, os.environ)
    except WallsUnusable as error:
        raise Stop(exits.USAGE, f"--runner={asked.runner} can't be used: {error.detail}") from error


def _worker_settings(settings: Settings, asked: Asked) -> WorkerSettings:
    for queue in asked.queues:
        if not _QUEUE.fullmatch(queue):
            raise Stop(
                exits.USAGE,
                f"--queue={queue!r} can't be used, allowed: [a-z0-9][a-z0-9._-]{{0,62}}",
            )
    return WorkerSettings(
        name=asked.name or f"{socket.gethostname()}-{os.getpid()}",
        workspace_root=settings.data_dir / "workspaces",
        queues=asked.queues,
        concurrency=asked.concurrency or os.cpu_count() or 1,
        labels=asked.labels,
        runner=asked.runner,
        copy_roots=settings.copy_roots,
        lease_seconds=settings.lease_seconds,
        object_store_url=settings.object_store_url,
        drain_seconds=settings.drain_seconds,
        spool_dir=settings.spool_dir,
        code_version=version("reactorcide"),
        handlers=asked.handlers,
    )
