"""A worker from its first connection to its last: put together, run, stopped by signals."""

import asyncio
import signal
from typing import Final

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.sealing import Sealer
from reactorcide.worker.direct import open_coordinator
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.worker import Worker

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def run_worker(settings: WorkerSettings, database: Database, sealer: Sealer | None) -> None:
    """Work until the first SIGTERM or SIGINT, then drain; a second one gives back at once.

    `sealer` None: jobs with secrets fail. Raises DatabaseUnavailable or
    CoordinatorUnavailable when the database is not there at the start.
    """
    async with open_coordinator(settings, database, sealer) as coordinator:
        worker = Worker(settings, coordinator, ProcessRunner())
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop_or_release() -> None:
            if stop.is_set():
                worker.release()
            stop.set()

        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, stop_or_release)
        try:
            await worker.run(stop)
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)
