"""PgQueuer on asyncpg: batches of a thousand, one connection a worker. Run by its own venv."""

from collections.abc import Callable

import asyncpg
import uvloop
from pgqueuer import PgQueuer  # type: ignore[import-not-found]  # never in our venv
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver  # type: ignore[import-not-found]
from pgqueuer.models import Job  # type: ignore[import-not-found]
from pgqueuer.queries import Queries  # type: ignore[import-not-found]

from reactorcide.benchmarks.peers.program import BATCH, Hits, main

_WORKER_BATCH = 1000


class _PgQueuer:
    _connection: asyncpg.Connection | asyncpg.Pool

    async def install(self, uri: str) -> None:
        connection = await asyncpg.connect(uri)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def open(self, uri: str, callers: int) -> None:
        if callers == 1:
            self._connection = await asyncpg.connect(uri)
            self._queries = Queries(AsyncpgDriver(self._connection))
        else:
            self._connection = await asyncpg.create_pool(uri, min_size=callers, max_size=callers)
            self._queries = Queries(AsyncpgPoolDriver(self._connection))

    async def close(self) -> None:
        await self._connection.close()

    async def submit(self, sent: int) -> None:
        await self._queries.enqueue("noop", b"%d" % sent, 0)

    async def submit_batch(self) -> None:
        await self._queries.enqueue(["noop"] * BATCH, [b"0"] * BATCH, [0] * BATCH)

    async def work(self, uri: str, hits: Hits, gate: Callable[[], None]) -> None:
        queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(uri))

        async def noop(job: Job) -> None:
            hits.hit(int(job.payload or b"0"))

        queue.entrypoint("noop")(noop)
        gate()
        await queue.run(batch_size=_WORKER_BATCH)


if __name__ == "__main__":
    main(_PgQueuer(), uvloop.run)
