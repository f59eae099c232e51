"""0007 with data in the tables: jobs, leases and counts go up and down unharmed."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import (
    CancelJob,
    ClaimJob,
    Completed,
    DeleteJob,
    Failed,
    FinishAttempt,
    QueueJob,
    Released,
    Status,
    TimedOut,
)
from reactorcide.migrations.runner import migrate_down, migrate_up
from reactorcide.migrations.schema import digests
from reactorcide.projections.projection import named
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import WORKER, Journal, now

PARTITION_JOBS: Final = "0007.partition-jobs"
STEPS: Final = sum(migration_id >= PARTITION_JOBS for migration_id in digests())
"""Down to what was before it."""

_ROWS: Final = "SELECT tableoid::regclass::text AS partition, * FROM jobs ORDER BY job_id"
_COUNTS: Final = """
SELECT queue_name, status, sum(jobs)::int AS jobs FROM (
    SELECT queue_name, status, jobs FROM queue_counts
    UNION ALL SELECT queue_name, status, jobs FROM queue_changes
) AS noted GROUP BY queue_name, status HAVING sum(jobs) <> 0 ORDER BY queue_name, status"""
_BEFORE: Final = """
SELECT job_id, status, available_at, l.attempt, l.worker_id, l.lease_until
FROM jobs LEFT JOIN leases AS l USING (job_id)"""
# The rows of 0006 kept a time that had come; in those whose fold clears it now, there is one again;
# who was queued by being submitted never had one.
_KEEP_TIMES: Final = """
UPDATE jobs SET available_at = created_at
WHERE available_at IS NULL AND version > 1
    AND status IN ('queued', 'claimed', 'running', 'completed', 'failed')"""


async def a_job_of_every_kind(connection: Connection) -> None:
    """Record jobs in every status, with waits, retries, leases, keys and results."""
    journal = Journal(connection)
    later = now() + timedelta(hours=1)
    await journal.submit(run_at=later, unique_key="k", labels={"gpu": "yes"})
    await journal.submit(queue_name="fast", priority=5)
    await journal.submit(waits=True, depends_on=(await journal.submit(),))
    due = await journal.submit(run_at=now() + timedelta(milliseconds=1), waits=True)
    await journal.tell(due, QueueJob(now() + timedelta(seconds=1), frozenset()))
    for outcome in (Failed(1, "no"), Released("drained")):
        await journal.finish(await journal.submit(max_attempts=3), outcome)
    await journal.tell(await journal.submit(), ClaimJob(WORKER, 15, now()))
    await journal.claim(await journal.submit(queue_name="fast"), 600)
    stopping = await journal.submit()
    await journal.claim(stopping)
    await journal.tell(stopping, CancelJob())
    await journal.finish(await journal.submit())
    handled = await journal.submit(job_command=None, handler="mail.send")
    attempt = (await journal.tell(handled, ClaimJob(WORKER, 15, now()))).state.attempt
    ended = Completed(result={"sent": [1, None]}, exit_code=None)
    await journal.tell(handled, FinishAttempt(attempt, ended, now(), 0))
    await journal.finish(await journal.submit(), Failed(1, "no"))
    await journal.finish(await journal.submit(), TimedOut(143, "too long"))
    await journal.tell(await journal.submit(run_at=later), CancelJob())
    deleted = await journal.submit()
    await journal.finish(deleted)
    await journal.tell(deleted, DeleteJob())


async def _all(connection: Connection, sql: str) -> list[Mapping[str, Any]]:
    return [dict(row) for row in await connection.fetch(sql)]


async def test_jobs_go_down_and_up_unharmed(database_uri: str, connection: Connection) -> None:
    """Every column, in its partition, leases too; and all of it is as the log has it."""
    await a_job_of_every_kind(connection)
    rows, counts = await _all(connection, _ROWS), await _all(connection, _COUNTS)
    assert {row["status"] for row in rows} == set(Status) - {Status.NONE}
    undone = await asyncio.to_thread(migrate_down, database_uri, STEPS)
    assert undone[-1] == PARTITION_JOBS
    await _look_at_leases(connection, rows)
    await connection.execute(_KEEP_TIMES)
    assert await asyncio.to_thread(migrate_up, database_uri) == undone[::-1]
    assert await _all(connection, _ROWS) == rows
    assert await _all(connection, _COUNTS) == counts
    seen = await verify(Database(database_uri), named("jobs"), lambda _done, _all: None)
    assert seen.differences == ()
    journal = Journal(connection)
    for row in rows:
        if row["status"] == Status.RUNNING:
            await journal.tell(row["job_id"], FinishAttempt(row["attempt"], Completed(), now(), 0))


async def _look_at_leases(connection: Connection, rows: list[Mapping[str, Any]]) -> None:
    """Below, a lease is a row of its own: of exactly those that hold a job."""
    held = {row["job_id"]: row for row in rows if row["lease_until"] is not None}
    assert {row["status"] for row in held.values()} == {Status.CLAIMED, Status.RUNNING}
    before = {row["job_id"]: row for row in await connection.fetch(_BEFORE)}
    assert before.keys() == {row["job_id"] for row in rows}
    leased: dict[UUID, asyncpg.Record] = {
        job_id: row for job_id, row in before.items() if row["lease_until"] is not None
    }
    assert leased.keys() == held.keys()
    for job_id, row in leased.items():
        for column in ("attempt", "worker_id", "lease_until"):
            assert row[column] == held[job_id][column]


@pytest.mark.parametrize("rows", [0, 3])
async def test_a_lease_of_nobody_does_not_come_along(
    database_uri: str, connection: Connection, rows: int
) -> None:
    """One that an older attempt left is dropped; the job's is taken for lost, by upkeep."""
    journal = Journal(connection)
    job_ids = [await journal.submit() for _ in range(rows)]
    for job_id in job_ids:
        await journal.claim(job_id)
    await asyncio.to_thread(migrate_down, database_uri, STEPS)
    await connection.execute("UPDATE leases SET attempt = attempt + 1")
    await asyncio.to_thread(migrate_up, database_uri)
    found = await connection.fetch("SELECT lease_until FROM jobs")
    assert [row["lease_until"] for row in found] == [None] * rows
