"""The audit table: bounds in time are exact, and every question walks an index."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import audit_events
from reactorcide.projections.audit_events import SQL, AuditFilter
from reactorcide.tests.conftest import Connection

BEGAN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
RECORD: Final = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type, recorded_at)
VALUES (gen_random_uuid(), $1, 'job', 1, 1, 'job.queued', '{}', 'system', $2)
RETURNING position"""
MANY: Final = """
INSERT INTO audit_events
SELECT n, t, t, false, 'job.queued', 'job', uuid(md5(n::text)::uuid), 'user', uuid(md5('a')::uuid),
    NULL, '10.0.0.1', n::text, NULL, NULL, gen_random_uuid(), 'success'
FROM generate_series(1, 20000) AS n
CROSS JOIN LATERAL (SELECT now() + n * interval '1 ms' AS t) AS moment"""


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Connections as the API has them."""
    opened = await database.create_pool(0, 1)
    yield opened
    opened.terminate()


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
async def test_times_hold_whatever_the_order_of_the_positions(
    connection: Connection, pool: Pool, batch: int
) -> None:
    """A transaction that was open for long records its start, behind what came meanwhile."""
    moments = [BEGAN + n * SECOND for n in (0, 10, 20, 5, 30, 31, 2, 30.5, 40, 12)]
    streams = [new_id() for _ in moments]
    last = 0
    for stream, moment in zip(streams, moments, strict=True):
        last = await connection.fetchval(RECORD, stream, moment)
    for after in range(0, last, batch):
        await audit_events.SUBSCRIPTION.write(connection, after, min(after + batch, last))
    for bound in (*moments, BEGAN - SECOND, max(moments) + SECOND):
        for wanted in (
            AuditFilter(since=bound),
            AuditFilter(until=bound),
            AuditFilter(since=bound, until=bound + 11 * SECOND),
        ):
            expected = [
                stream
                for stream, moment in zip(streams, moments, strict=True)
                if (wanted.since is None or moment >= wanted.since)
                and (wanted.until is None or moment < wanted.until)
            ]
            page = await audit_events.page(pool, wanted, None, 100)
            assert [event.stream_id for event in page.events] == expected[::-1]


@pytest.mark.parametrize(
    ("number", "value", "index"),
    [
        (4, "system", "system"),
        (5, UUID(int=1), "actor"),
        (6, UUID(int=1), "token"),
        (7, "job.failed", "type"),
        (8, UUID(int=1), "stream"),
        (9, "token", "stream_type"),
        (9, "job", "pkey"),
        (10, ip_address("10.0.0.2"), "ip"),
        (11, "r", "request"),
        (12, "refused", "outcome"),
        (12, "success", "pkey"),
        (13, BEGAN, "pkey"),
        (14, BEGAN, "pkey"),
    ],
)
async def test_each_question_walks_an_index_in_order(
    connection: Connection, pool: Pool, number: int, value: Any, index: str
) -> None:
    """Nothing is sorted, and the log is looked into for the rows of the page alone."""
    await connection.execute(MANY)
    await connection.execute("ANALYZE audit_events")
    arguments: list[Any] = [2**63 - 1, 51, 0, *[None] * 11]
    arguments[number - 1] = value
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        rows = await reader.fetch("EXPLAIN " + SQL["page"], *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert re.search(rf"using audit_events_{index} on audit_events a\b", plan), plan
    assert "Seq Scan" not in plan
    assert not re.search(r"Sort +\(", plan), plan
    assert "using events_pkey on events e" in plan
