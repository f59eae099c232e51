"""The floor: the least SQL that keeps a job and one event a step, on bare asyncpg.

No rule, no retry, no lease that anybody looks at, no task a job: what is above this is the price
of those. NOTIFY goes after the commit, on a connection of its own, at most every 5 ms.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from reactorcide.benchmarks.peers.program import BATCH, Hits, main
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.ids import new_id

_TABLES: Final = Path(__file__).with_name("floor.sql")
_LOOPS: Final = 2
"""Claim loops a worker, each on its own connection."""
_CLAIM: Final = 100
_RING_SECONDS: Final = 0.005
_POLL_SECONDS: Final = 1

_SUBMIT: Final = """
WITH fresh AS (
    INSERT INTO jobs (job_id, data)
    SELECT * FROM unnest($1::uuid[], $2::jsonb[]) RETURNING job_id, data
)
INSERT INTO events (stream_id, version, type, data)
SELECT job_id, 1, 'submitted', data FROM fresh"""

# What the last batch became, and the next batch: one statement, one commit.
_FINISH_AND_CLAIM: Final = """
WITH ended AS (
    UPDATE jobs SET status = 'completed', version = version + 1, ended_at = now()
    WHERE job_id = ANY ($1::uuid[]) AND status = 'claimed' AND worker_id = $2
    RETURNING job_id, version
), picked AS (
    SELECT job_id FROM jobs WHERE status = 'queued' AND queue_name = 'default'
    ORDER BY priority DESC, job_id LIMIT $3 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE jobs SET status = 'claimed', version = version + 1, attempt = attempt + 1,
        worker_id = $2, lease_until = now() + interval '15 s'
    FROM picked WHERE jobs.job_id = picked.job_id RETURNING jobs.job_id, version, data
), told AS (
    INSERT INTO events (stream_id, version, type, data)
    SELECT job_id, version, 'completed', '{"exit_code": 0}' FROM ended
    UNION ALL
    SELECT job_id, version, 'claimed', jsonb_build_object('worker_id', $2) FROM claimed
) SELECT job_id, data FROM claimed"""


class _Floor:
    async def install(self, uri: str) -> None:
        connection = await asyncpg.connect(uri)
        await connection.execute(_TABLES.read_text("utf-8"))
        await connection.close()

    async def open(self, uri: str, callers: int) -> None:
        self._all = [await asyncpg.connect(uri) for _ in range(callers + 1)]
        self._bell = self._all.pop()
        self._idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for connection in self._all:
            self._idle.put_nowait(connection)
        self._has_news = asyncio.Event()
        self._ringer = asyncio.create_task(self._ring())

    async def close(self) -> None:
        await asyncio.sleep(2 * _RING_SECONDS)  # the last ring
        self._ringer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ringer
        for connection in (*self._all, self._bell):
            await connection.close()

    async def submit(self, sent: int) -> None:
        await self._insert(1, f'{{"sent": {sent}}}')

    async def submit_batch(self) -> None:
        await self._insert(BATCH, '{"sent": 0}')

    async def _insert(self, count: int, data: str) -> None:
        connection = await self._idle.get()
        await connection.execute(_SUBMIT, [new_id() for _ in range(count)], [data] * count)
        self._idle.put_nowait(connection)
        self._has_news.set()

    async def _ring(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            await self._bell.execute("NOTIFY jobs")
            await asyncio.sleep(_RING_SECONDS)

    async def work(self, uri: str, hits: Hits, gate: Callable[[], None]) -> None:
        ear = await asyncpg.connect(uri)
        connections = [await asyncpg.connect(uri) for _ in range(_LOOPS)]
        rung = [asyncio.Event() for _ in connections]

        def ring(*_: object) -> None:
            for event in rung:
                event.set()

        await ear.add_listener("jobs", ring)
        gate()
        async with asyncio.TaskGroup() as group:
            for connection, event in zip(connections, rung, strict=True):
                group.create_task(_work_loop(connection, event, hits))


async def _work_loop(connection: Connection, rung: asyncio.Event, hits: Hits) -> None:
    step = await connection.prepare(_FINISH_AND_CLAIM)
    worker = f"floor-{os.getpid()}"
    done: list[object] = []
    while True:
        rung.clear()
        rows = await step.fetch(done, worker, _CLAIM)
        for row in rows:
            hits.hit(json.loads(row[1])["sent"])
        done = [row[0] for row in rows]
        if not rows:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), _POLL_SECONDS)


if __name__ == "__main__":
    main(_Floor(), uvloop.run)
