"""Claim to finish of no-op jobs: jobs per second through the real store, one worker's loop.

Ours is a worker's coordinator without its commands: claim up to a batch, record every start that
came not with its claim, record every outcome. The floor writes the same rows with bare asyncpg,
in three statements a batch: claim, start, finish, each with its events; no rule, no version, no
lease check.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import Rate, interleave, report, rounded, run
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobSubmitted, WorkerRegistered
from reactorcide.eventstore.domain.job import JOB, Completed, SubmitJob
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import job_rows
from reactorcide.worker.coordinator import ClaimedAttempt
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.settings import WorkerSettings

_BATCHES: Final = {1: 300, 10: 2_000, 100: 5_000}
"""How many jobs a round has, by jobs a batch."""
_ROUNDS: Final = 3

_CLAIM: Final = """
WITH picked AS (
    SELECT job_id FROM jobs WHERE status = 'queued' AND queue_name = $1
    ORDER BY priority DESC, job_id LIMIT $2 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE jobs SET status = 'claimed', version = version + 1, attempt = attempt + 1,
        worker_id = $3, claimed_at = now(), updated_at = now(),
        lease_until = now() + interval '15 s'
    FROM picked WHERE jobs.job_id = picked.job_id RETURNING jobs.job_id, jobs.version
), event AS (
    INSERT INTO events (event_id, stream_id, stream_type, version, schema_version, type, data,
        actor_type, actor_id)
    SELECT gen_random_uuid(), job_id, 'job', version, 1, 'job.claimed',
        '{"attempt": 1, "lease_seconds": 15.0}', 'worker', $3 FROM taken
) SELECT job_id FROM taken"""

_START: Final = """
WITH taken AS (
    UPDATE jobs SET status = 'running', version = version + 1, started_at = now(),
        updated_at = now() WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, version
) INSERT INTO events (event_id, stream_id, stream_type, version, schema_version, type, data,
    actor_type, actor_id)
SELECT gen_random_uuid(), job_id, 'job', version, 1, 'job.started', '{"attempt": 1}', 'worker', $2
FROM taken"""

_FINISH: Final = """
WITH taken AS (
    UPDATE jobs SET status = 'completed', version = version + 1, exit_code = 0,
        completed_at = now(), updated_at = now(), lease_until = NULL
    WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, version
)
INSERT INTO events (event_id, stream_id, stream_type, version, schema_version, type, data,
    actor_type, actor_id)
SELECT gen_random_uuid(), job_id, 'job', version, 1, 'job.completed',
    '{"attempt": 1, "exit_code": 0}', 'worker', $2 FROM taken"""


async def fill(
    database: Database, count: int, queue: str = "bench", job_command: str = "true"
) -> None:
    """Submit `count` jobs."""
    submitted = JobSubmitted(
        user_id=new_id(), name="noop", job_command=job_command, queue_name=queue
    )
    connection = await database.connect(role=False)
    now = await connection.fetchval("SELECT now()")
    await connection.close()
    async with Appender(database, job_rows.rows) as appender:
        for start in range(0, count, 500):
            units = [
                decided(
                    JOB, JOB.initial, 0, new_id(), SubmitJob(submitted, now, waits=False), SYSTEM
                )
                for _ in range(min(500, count - start))
            ]
            await appender.append([unit for unit in units if unit is not None])


async def _complete(coordinator: DirectCoordinator, claimed: ClaimedAttempt) -> None:
    if not claimed.is_started:
        await coordinator.start(claimed.key)
    await coordinator.finish(claimed.key, Completed())


def _ours(database: Database, batch: int, jobs_in_all: int) -> Rate:
    settings = WorkerSettings(name="bench", workspace_root=Path("/nonexistent"), queues=("bench",))

    async def one_round() -> float:
        await fill(database, jobs_in_all)
        async with open_coordinator(settings, database, None) as coordinator:
            registered = WorkerRegistered(
                name="bench", hostname="here", pid=1, queues=("bench",), concurrency=batch,
                runner="none", code_version="0",
            )  # fmt: skip
            await coordinator.register(registered)
            start = time.perf_counter()
            done = 0
            while done < jobs_in_all:
                claim = await coordinator.claim(batch)
                await asyncio.gather(*[_complete(coordinator, one) for one in claim.attempts])
                done += len(claim.attempts)
            return done / (time.perf_counter() - start)

    return one_round


def _floor(database: Database, batch: int, jobs_in_all: int) -> Rate:
    worker_id = new_id()

    async def one_round() -> float:
        await fill(database, jobs_in_all)
        connection: asyncpg.Connection[asyncpg.Record] = await database.connect()
        start = time.perf_counter()
        done = 0
        while done < jobs_in_all:
            taken = [row[0] for row in await connection.fetch(_CLAIM, "bench", batch, worker_id)]
            await connection.execute(_START, taken, worker_id)
            await connection.execute(_FINISH, taken, worker_id)
            done += len(taken)
        rate = done / (time.perf_counter() - start)
        await connection.close()
        return rate

    return one_round


async def measure(uri: str) -> None:
    """Measure with 1, 10 and 100 jobs a batch."""
    database = Database(uri)
    cases = []
    for batch, count in _BATCHES.items():
        pair = await interleave(
            _ours(database, batch, count), _floor(database, batch, count), _ROUNDS
        )
        cases.append(rounded(pair, batch=batch))
    report("claim_finish", unit="jobs/s", cases=cases)


if __name__ == "__main__":
    run(measure)
