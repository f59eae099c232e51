"""Procrastinate on psycopg: thirty at once, twenty connections. Run by its own venv."""

import logging
from collections.abc import Callable
from typing import Final

import uvloop
from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found]  # never in our venv

from reactorcide.benchmarks.peers.program import BATCH, Hits, main

_CONCURRENCY: Final = 30
_WORKER_CONNECTIONS: Final = 20


class _Procrastinate:
    _hits: Hits

    def _make(self, uri: str, connections: int) -> App:
        connector = PsycopgConnector(conninfo=uri, min_size=connections, max_size=connections)
        self._app = App(connector=connector)

        async def noop(sent: int) -> None:
            self._hits.hit(sent)

        self._noop = self._app.task(name="noop", queue="default")(noop)
        return self._app

    async def install(self, uri: str) -> None:
        async with self._make(uri, 1).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def open(self, uri: str, callers: int) -> None:
        await self._make(uri, callers).open_async()

    async def close(self) -> None:
        await self._app.close_async()

    async def submit(self, sent: int) -> None:
        await self._noop.defer_async(sent=sent)

    async def submit_batch(self) -> None:
        await self._noop.batch_defer_async(*[{"sent": 0}] * BATCH)

    async def work(self, uri: str, hits: Hits, gate: Callable[[], None]) -> None:
        self._hits = hits
        logging.disable(logging.WARNING)
        async with self._make(uri, _WORKER_CONNECTIONS).open_async() as app:
            gate()
            await app.run_worker_async(
                queues=["default"], concurrency=_CONCURRENCY, install_signal_handlers=False
            )


if __name__ == "__main__":
    main(_Procrastinate(), uvloop.run)
