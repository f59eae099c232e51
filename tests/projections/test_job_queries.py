"""Queries of table jobs: what they find, in which order, and by which index."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.domain.job import DeleteJob, Failed, Status, TimedOut
from reactorcide.projections import due_jobs, job_suggestions, jobs
from reactorcide.tests.projections.journal import OWNER, Journal, now
from reactorcide.tests.projections.many_jobs import explained, fill, is_of_jobs, rows_read

SQL: Final = {**jobs.SQL, **due_jobs.SQL, **job_suggestions.SQL}
OTHER: Final = UUID("018f0000-0000-7000-8000-000000000002")


async def test_the_best_priority_is_claimed_first_then_the_oldest(connection: Connection) -> None:
    """Over all queues asked for, and of no other; never more than asked for."""
    journal = Journal(connection)
    old = await journal.submit(queue_name="a")
    urgent = await journal.submit(queue_name="b", priority=5)
    young = await journal.submit(queue_name="a")
    late = await journal.submit(queue_name="b", priority=-5)
    await journal.submit(queue_name="c", priority=9)
    found = await job_suggestions.claimable(connection, ["a", "b"], "{}", 10)
    assert [job.job_id for job in found] == [urgent, old, young, late]
    assert len(await job_suggestions.claimable(connection, ["a", "b"], "{}", 3)) == 3
    assert await job_suggestions.claimable(connection, [], "{}", 3) == []


async def test_a_worker_must_carry_all_labels_of_a_job(connection: Connection) -> None:
    """Its own others do no harm."""
    journal = Journal(connection)
    job_id = await journal.submit(labels={"gpu": "yes", "zone": "a"})
    for carried, is_found in (
        ({}, False),
        ({"gpu": "yes"}, False),
        ({"gpu": "yes", "zone": "b"}, False),
        ({"gpu": "yes", "zone": "a", "disk": "big"}, True),
    ):
        found = await job_suggestions.claimable(connection, ["default"], json.dumps(carried), 5)
        assert [job.job_id for job in found] == [job_id] * is_found


async def test_a_retry_is_not_claimable_before_its_time(connection: Connection) -> None:
    """And its time is what is waited for next."""
    journal = Journal(connection)
    job_id = await journal.submit(max_attempts=2, retry_backoff_seconds=600)
    await journal.finish(job_id, Failed(1, "no"))
    job = await jobs.get(connection, job_id)
    assert job is not None
    assert job.state.status is Status.QUEUED
    assert await job_suggestions.claimable(connection, ["default"], "{}", 5) == []
    assert (await due_jobs.next_due(connection)).at == job.state.available_at
    sooner = now() + timedelta(seconds=300)
    await journal.submit(run_at=sooner)
    assert (await due_jobs.next_due(connection)).at == sooner


async def test_a_job_is_suggested_as_it_stands(connection: Connection) -> None:
    """Tried or not, whatever was asked for; the args apart, where alike jobs share a request."""
    journal = Journal(connection)
    asked: dict[str, Any] = {
        "job_command": None,
        "handler": "h",
        "max_attempts": 9,
        "retry_backoff_seconds": 0,
    }
    alike = [await journal.submit(**asked, args={"nth": nth}) for nth in range(3)]
    tried = [await journal.submit(**asked, args=None), await journal.submit(max_attempts=2)]
    for job_id in (alike[2], *tried):
        await journal.finish(job_id, Failed(3, "no"))
    other = await journal.submit(run_at=now() - timedelta(seconds=9), labels={"a": "b"})
    await connection.execute("UPDATE jobs SET available_at = now() WHERE available_at > now()")
    found = await job_suggestions.claimable(connection, ["default"], '{"a": "b"}', 9)
    assert {one.job_id for one in found} == {*alike, *tried, other}
    for one in found:
        job = await jobs.get(connection, one.job_id)
        assert job is not None
        submitted = one.submitted
        if one.args is not None:
            assert submitted.args is None
            submitted = submitted.model_copy(update={"args": json.loads(one.args)})
        assert (one.version, one.state._replace(submitted=submitted)) == (job.version, job.state)
    states = {one.job_id: one.state for one in found}
    assert states[alike[0]] is states[alike[1]]


async def test_a_unique_key_names_the_job_that_has_not_ended(connection: Connection) -> None:
    """Of that owner and queue only."""
    journal = Journal(connection)
    first = await journal.submit(unique_key="k")
    held = await jobs.active_with_key(connection, OWNER, "default", "k")
    assert held is not None
    assert held.job_id == first
    for other in ((OTHER, "default", "k"), (OWNER, "fast", "k"), (OWNER, "default", "l")):
        assert await jobs.active_with_key(connection, *other) is None
    await journal.finish(first, TimedOut(143, "too long"))
    assert await jobs.active_with_key(connection, OWNER, "default", "k") is None


async def test_times_are_aware(connection: Connection) -> None:
    """And in UTC, as in the log."""
    job = await jobs.get(connection, await Journal(connection).submit())
    assert job is not None
    assert job.created_at.tzinfo is not None
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_deleted_job_is_found_nowhere(connection: Connection) -> None:
    """Neither alone, nor among many."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.finish(job_id)
    await journal.tell(job_id, DeleteJob())
    assert await jobs.get(connection, job_id) is None
    assert await jobs.get_many(connection, [job_id]) == {}


@pytest.mark.parametrize(
    ("name", "arguments", "indexes"),
    [
        ("claimable", (["q0", "q1"], "{}", 4, 1, 0, 0), {"claimable", "delayed"}),
        ("claimable", (["q0", "q1"], "{}", 4, 8, 3, 9), {"claimable", "delayed"}),
        ("claimable_after", (["q0", "q1"], "{}", 4, 1, 0, 0, 3, OWNER), {"claimable"}),
        ("next_due", (None,), {"waiting_due", "ready_delayed"}),
        ("active_with_key", (OWNER, "q0", "k"), {"unique_key"}),
        ("get", (OWNER,), {"pkey"}),
        ("get_many", ([OWNER],), {"pkey"}),
    ],
)
async def test_a_hot_query_is_served_by_its_index(
    reader: Connection, name: str, arguments: tuple[Any, ...], indexes: set[str]
) -> None:
    """With 20,000 jobs, by the plan that is made once; it looks at few rows that it leaves out."""
    nodes = [node for node in await explained(reader, SQL[name], arguments) if is_of_jobs(node)]
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    used = {str(node["Index Name"]) for node in nodes}
    assert all(any(one.endswith(index) for one in used) for index in indexes), used
    assert sum(map(rows_read, nodes)) <= 80


@pytest.mark.parametrize(
    ("name", "partition"),
    [("due", "jobs_waiting"), ("blocked", "jobs_waiting"), ("held_without_lease", "jobs_held")],
)
async def test_upkeep_looks_only_where_there_is_something_to_do(
    reader: Connection, name: str, partition: str
) -> None:
    """At those that wait, or are held; at another only to see how a dependency stands."""
    nodes = [node for node in await explained(reader, SQL[name], (500,)) if is_of_jobs(node)]
    assert {node["Relation Name"] for node in nodes if node["Actual Loops"]} == {partition}


@pytest.fixture
async def reader(database: Database, connection: Connection) -> AsyncIterator[Connection]:
    """A connection as the pool lends it, over 20,000 jobs."""
    await fill(connection, 20_000)
    pool = await database.create_pool(1, 1)
    async with pool.acquire() as pooled:
        yield pooled
    await pool.close()
