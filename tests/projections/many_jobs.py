"""Rows as they would stand after many jobs; what the log says does not matter to a plan."""

import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from reactorcide.eventstore.database import Connection

RARE: Final = UUID("01900000-0000-7000-8000-0000000000ff")
"""Owns one job in 1,000, and none that failed."""

_MANY: Final = """
INSERT INTO jobs (
    job_id, user_id, version, status, name, source_type, queue_name, priority, available_at,
    labels, attempt, failures, lost_leases, created_at, updated_at
)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    CASE WHEN n % 1000 = 7 THEN '01900000-0000-7000-8000-0000000000ff'::uuid
        ELSE ('01900000-0000-7000-8000-' || lpad(to_hex(n % 50), 12, '0'))::uuid END, 1,
    CASE WHEN n % 100 = 0 THEN 'queued' WHEN n % 200 = 1 THEN 'running'
        WHEN n % 500 = 2 THEN 'submitted' WHEN n % 500 = 3 THEN 'deleted'
        WHEN n % 200 = 4 THEN 'failed' ELSE 'completed' END,
    'job ' || n, 'none', 'q' || n % 3, n % 5,
    CASE WHEN n % 500 = 2 OR n % 1000 = 0 THEN now() + interval '1 hour' END,
    '{}', 0, 0, 0, now(), now()
FROM generate_series(1, $1::int) AS n"""


_COUNTS: Final = """
INSERT INTO queue_counts SELECT queue_name, status, count(*) FROM jobs
WHERE status IN ('submitted', 'queued', 'claimed', 'running') GROUP BY queue_name, status"""


async def fill(connection: Connection, number: int) -> None:
    """Insert so many jobs, and let the planner know of them."""
    await connection.execute(_MANY, number)
    await connection.execute(_COUNTS)
    await connection.execute("VACUUM ANALYZE jobs")


async def explained(
    connection: Connection, sql: str, arguments: tuple[Any, ...]
) -> list[dict[str, Any]]:
    """Run a statement by its generic plan; return the plan's nodes."""
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    (row,) = await connection.fetch(
        "EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, COSTS OFF) " + sql, *arguments
    )
    await connection.execute("RESET plan_cache_mode")
    return list(_nodes(json.loads(row[0])[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def rows_read(node: dict[str, Any]) -> int:
    """Return how many rows a scan looked at, those that it left out included."""
    looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    number: int = round(looked_at * node["Actual Loops"])
    return number


def is_of_jobs(node: dict[str, Any]) -> bool:
    """Say whether the node scans a partition of table jobs."""
    return str(node.get("Relation Name", "")).startswith("jobs_")
