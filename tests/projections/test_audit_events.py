"""The audit table: bounds in time are exact, and every question walks an index."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.access_report import ACCESS, Report
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.eventstore.store import append
from reactorcide.projections import audit_events, checkpoints
from reactorcide.projections.audit_events import SQL, SUBSCRIPTION, AuditFilter
from reactorcide.projections.rebuild import Rebuilt, rebuild
from reactorcide.projections.refilling import verify
from reactorcide.projections.subscription import advance
from reactorcide.projections.table import Difference
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.samples import ARTIFACT_READ, DENIED, LOG_READ, REFUSED
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.journal import Journal

BEGAN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
RECORD: Final = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type, recorded_at)
VALUES (gen_random_uuid(), $1, 'job', 1, 1, 'job.queued', '{}', 'system', $2)
RETURNING position"""
FIRST_TWO: Final = "SELECT position FROM audit_events ORDER BY position LIMIT 2"
MANY: Final = """
INSERT INTO audit_events
SELECT n, t, t, false, 'job.queued', 'job', uuid(md5(n::text)::uuid), 'user', uuid(md5('a')::uuid),
    NULL, '10.0.0.1', n::text, NULL, NULL, gen_random_uuid(), 'success', NULL
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


QUESTIONS: Final = (
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
    (15, UUID(int=1), "job"),
    (4, "anonymous", "anonymous"),
)
"""The number of a parameter, what it is, and the index that answers it."""


async def test_each_question_walks_an_index_in_order(connection: Connection, pool: Pool) -> None:
    """Nothing is sorted, and the log is looked into for the rows of the page alone."""
    await connection.execute(MANY)
    await connection.execute("ANALYZE audit_events")
    for number, value, index in QUESTIONS:
        arguments: list[Any] = [2**63 - 1, 51, 0, *[None] * 12]
        arguments[number - 1] = value
        async with pool.acquire() as reader, reader.transaction():
            await reader.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            rows = await reader.fetch("EXPLAIN " + SQL["page"], *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert re.search(rf"using audit_events_{index} on audit_events a\b", plan), plan
        assert "Seq Scan" not in plan
        assert not re.search(r"Sort +\(", plan), plan
        assert "using events_pkey on events e" in plan


APART: Final = """
UPDATE audit_events SET stream_type = 'access', type = 'access.denied', outcome = 'denied'
WHERE position % 200 = 0"""


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ({10: ip_address("10.0.0.1"), 12: "denied"}, "unserved_ip|outcome"),
        (
            {5: UUID("0cc175b9-c0f1-b6a8-31c3-99e269772661"), 12: "denied"},
            "unserved_actor|outcome|actor_apart",
        ),
        (
            {5: UUID("0cc175b9-c0f1-b6a8-31c3-99e269772661"), 7: "access.denied", 9: "access"},
            "actor_apart|type",
        ),
    ],
)
async def test_two_questions_at_once_walk_a_small_index(
    connection: Connection, pool: Pool, values: dict[int, Any], index: str
) -> None:
    """Where the one alone is true of nearly every event."""
    await connection.execute(MANY)
    await connection.execute(APART)
    await connection.execute("ANALYZE audit_events")
    arguments: list[Any] = [2**63 - 1, 51, 0, *[None] * 12]
    for number, value in values.items():
        arguments[number - 1] = value
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        rows = await reader.fetch("EXPLAIN " + SQL["page"], *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert re.search(rf"using audit_events_(?:{index}) on audit_events a\b", plan), plan


async def _filled(connection: Connection, session: AnyConnection) -> None:
    """Record some jobs, and let the table follow."""
    journal = Journal(connection)
    for _ in range(3):
        await journal.finish(await journal.submit())
    assert await checkpoints.take(session, SUBSCRIPTION.name)
    while (await advance(session, SUBSCRIPTION, 4)).is_behind:
        pass


async def test_the_table_is_verified_against_the_log(
    database: Database, connection: Connection
) -> None:
    """As of the checkpoint; what differs is named by position and columns."""
    async with checkpoints.session(database) as session:
        await _filled(connection, session)
    await Journal(connection).submit()  # not taken yet: no difference
    seen = await verify(database, SUBSCRIPTION)
    assert seen.differences == ()
    assert seen.rows == seen.events == 12
    first, second = [row[0] for row in await connection.fetch(FIRST_TWO)]
    await connection.execute("DELETE FROM audit_events WHERE position = $1", first)
    await connection.execute(
        "UPDATE audit_events SET actor_type = 'user', ip = '::1' WHERE position = $1", second
    )
    await connection.execute(
        "INSERT INTO audit_events SELECT (jsonb_populate_record(a, '{\"position\": -1}')).* "
        "FROM audit_events AS a LIMIT 1"
    )
    assert (await verify(database, SUBSCRIPTION)).differences == (
        Difference(-1, "surplus", ()),
        Difference(first, "missing", ()),
        Difference(second, "changed", ("actor_type", "ip")),
    )


async def test_a_rebuild_puts_the_table_right(database: Database, connection: Connection) -> None:
    """Though a runner is in the middle of a batch: the swap waits for it, and has it once."""
    tasks: list[asyncio.Task[Rebuilt]] = []
    async with checkpoints.session(database) as session:
        await _filled(connection, session)
        await connection.execute("UPDATE audit_events SET type = 'job.deleted'")
        await connection.execute("DELETE FROM audit_events WHERE position % 2 = 0")
        await Journal(connection).submit()

        async def in_the_middle(session: AnyConnection, after: int, last: int) -> None:
            await SUBSCRIPTION.write(session, after, last)
            tasks.append(asyncio.create_task(_rebuilt(database)))
            await until(lambda: _is_filled(connection))

        await advance(session, replace(SUBSCRIPTION, write=in_the_middle))
        (made,) = await asyncio.gather(*tasks)
        assert made.rows in {12, 13}  # compared before the batch was committed, or after
        assert made.differed
        seen = await verify(database, SUBSCRIPTION)
        assert seen.differences == ()
        assert seen.rows == 13
        await advance(session, SUBSCRIPTION)  # the fact of the rebuild itself
    assert (await verify(database, SUBSCRIPTION)).rows == 14
    assert not (await _rebuilt(database)).differed


async def _rebuilt(database: Database) -> Rebuilt:
    return await rebuild(database, SUBSCRIPTION, lambda _done, _total: None)


async def _is_filled(connection: Connection) -> bool:
    found: bool | None = await connection.fetchval("SELECT has_indexes FROM rebuilds")
    return bool(found)


async def test_outcomes_and_reads_are_columns_of_the_fold(
    database: Database, connection: Connection
) -> None:
    """Verified and rebuilt like the others; the type alone says the outcome."""
    for event in (DENIED, REFUSED, LOG_READ, ARTIFACT_READ):
        unit = decided(ACCESS, ACCESS.initial, 0, new_id(), Report(event), SYSTEM)
        assert unit is not None
        await append(connection, [unit[0]])
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, SUBSCRIPTION.name)
        while (await advance(session, SUBSCRIPTION, 4)).is_behind:
            pass
    rows = await connection.fetch("SELECT outcome, job_id FROM audit_events ORDER BY position")
    assert [tuple(row) for row in rows] == [
        ("denied", None),
        ("refused", None),
        ("success", LOG_READ.job_id),
        ("success", ARTIFACT_READ.job_id),
    ]
    assert (await verify(database, SUBSCRIPTION)).differences == ()
    assert not (await _rebuilt(database)).differed
