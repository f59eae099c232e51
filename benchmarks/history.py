"""A long history made inside the database: what a rebuild and a long-lived log look like."""

from typing import Final

import asyncpg

EVENTS_PER_JOB: Final = 4

# Ids ascend as time-ordered ones do. Three of four jobs failed, the fourth
# still runs and was asked to stop.
_FILL: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, version, schema_version, type, data, actor_type
)
SELECT
    gen_random_uuid(),
    ('01900000-0000-7000-8000-' || lpad(to_hex(job), 12, '0'))::uuid,
    'job', nth, CASE nth WHEN 1 THEN 2 ELSE 1 END,
    (ARRAY['job.submitted', 'job.claimed', 'job.started',
           CASE WHEN job % 4 = 0 THEN 'job.cancel_requested' ELSE 'job.failed' END])[nth],
    (ARRAY[
        '{"user_id": "01900000-0000-7000-8000-000000000001", "name": "nightly build",
          "job_command": "make -j4 all && make test", "source_type": "none",
          "code_dir": "/job/src", "job_dir": "/job/src",
          "job_env_vars": {"CI": "true", "STAGE": "nightly"}, "sealed_env_vars": {},
          "timeout_seconds": 3600, "priority": 0, "queue_name": "default", "max_attempts": 1,
          "on_lost_lease": "requeue", "retry_backoff_seconds": 5, "labels": {},
          "depends_on": []}',
        '{"attempt": 1, "worker_id": "01900000-0000-7000-8000-000000000002",
          "lease_seconds": 15.0}',
        '{"attempt": 1}',
        CASE WHEN job % 4 = 0 THEN '{"grace_seconds": 10}'
             ELSE '{"attempt": 1, "exit_code": 1, "error": "exit code 1"}' END
    ])[nth]::jsonb,
    'system'
FROM generate_series($1::int, $2::int) AS job, generate_series(1, 4) AS nth
ORDER BY job, nth"""

_STEP: Final = 50_000


async def fill(uri: str, events: int) -> None:
    """Append the histories of `events / 4` jobs, straight into the table."""
    connection = await asyncpg.connect(uri)
    jobs = events // EVENTS_PER_JOB
    for start in range(1, jobs + 1, _STEP):
        await connection.execute(_FILL, start, min(start + _STEP - 1, jobs), timeout=300)
    await connection.execute("VACUUM (ANALYZE) events", timeout=300)
    await connection.close()
