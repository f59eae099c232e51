"""Ten thousand or ten million jobs made inside the database: each its row, and its first event."""

import asyncio
from typing import Final
from uuid import UUID

import asyncpg

QUEUES: Final = 20
JOBS_EACH: Final = 100
"""Of every owner."""
QUEUED: Final = 100_000
"""At most; of fewer than a million jobs every tenth."""

# Ids ascend as time-ordered ones do. The newest are queued, the oldest hundred run, as many wait,
# and of the others one in 100 failed.
_EVENTS: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, version, schema_version, type, data, actor_type
)
SELECT
    ('01900001-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'job', 1, 2, 'job.submitted',
    jsonb_build_object(
        'user_id', '01900002-0000-7000-8000-' || lpad(to_hex(n % $3::int), 12, '0'),
        'name', 'nightly build', 'handler', 'noop', 'queue_name', 'q' || n % $4::int,
        'waits', n BETWEEN 101 AND 200
    ), 'system'
FROM generate_series($1::int, $2::int) AS n"""
_JOBS: Final = """
INSERT INTO jobs (
    job_id, user_id, version, status, name, source_type, queue_name, priority, available_at,
    labels, attempt, failures, lost_leases, worker_id, created_at, updated_at, claimed_at,
    started_at, completed_at, lease_until
)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    ('01900002-0000-7000-8000-' || lpad(to_hex(n % $3::int), 12, '0'))::uuid,
    CASE WHEN status IN ('submitted', 'queued') THEN 1 WHEN status = 'running' THEN 3 ELSE 4 END,
    status, 'nightly build', 'none', 'q' || n % $4::int, 0,
    CASE status WHEN 'submitted' THEN now() + interval '1 day' END, '{}',
    CASE WHEN status IN ('submitted', 'queued') THEN 0 ELSE 1 END,
    CASE status WHEN 'failed' THEN 1 ELSE 0 END, 0,
    CASE WHEN status NOT IN ('submitted', 'queued') THEN
        '01900003-0000-7000-8000-000000000001'::uuid END,
    now(), now(),
    CASE WHEN status NOT IN ('submitted', 'queued') THEN now() END,
    CASE WHEN status NOT IN ('submitted', 'queued') THEN now() END,
    CASE WHEN status IN ('completed', 'failed') THEN now() END,
    CASE status WHEN 'running' THEN now() + interval '1 day' END
FROM (
    SELECT n, CASE WHEN n > $5::int THEN 'queued' WHEN n <= 100 THEN 'running'
        WHEN n <= 200 THEN 'submitted' WHEN n % 100 = 3 THEN 'failed'
        ELSE 'completed' END AS status
    FROM generate_series($1::int, $2::int) AS n
) AS made"""
_COUNTS: Final = """
INSERT INTO queue_counts SELECT queue_name, status, count(*) FROM jobs
WHERE status IN ('submitted', 'queued', 'claimed', 'running') GROUP BY queue_name, status"""
_CLEAR: Final = (
    "SET session_replication_role = replica",
    "ALTER TABLE events DISABLE TRIGGER events_no_truncate",
    "TRUNCATE jobs, queue_counts, queue_changes, events",
    "ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_truncate",
    "RESET session_replication_role",
)
_STEP: Final = 100_000
_PATIENCE: Final = 3600.0


def job_id(number: int) -> UUID:
    """Return the id of a job, from 1 on."""
    return UUID(f"01900000-0000-7000-8000-{number:012x}")


def owner_id(number: int) -> UUID:
    """Return the id of an owner, from 0 on."""
    return UUID(f"01900002-0000-7000-8000-{number:012x}")


async def fill(uri: str, count: int) -> None:
    """Put so many jobs in the place of all that there are."""
    async with asyncio.timeout(_PATIENCE):
        admin = await asyncpg.connect(uri)
        for statement in _CLEAR:
            await admin.execute(statement)
        ended = count - min(QUEUED, count // 10)
        await asyncio.gather(  # two sessions, two cores
            _step_by_step(uri, count, _EVENTS), _step_by_step(uri, count, _JOBS, ended)
        )
        await admin.execute(_COUNTS)
        await admin.execute("VACUUM (ANALYZE) jobs")
        await admin.execute("VACUUM (ANALYZE) events")
        await admin.execute("CHECKPOINT")
        await admin.close()


async def _step_by_step(uri: str, count: int, sql: str, *more: int) -> None:
    connection = await asyncpg.connect(uri, server_settings={"synchronous_commit": "off"})
    for start in range(1, count + 1, _STEP):
        last = min(start + _STEP - 1, count)
        await connection.execute(sql, start, last, count // JOBS_EACH, QUEUES, *more)
    await connection.close()
