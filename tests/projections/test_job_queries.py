"""Queries of table jobs: what they find, in which order, and by which index."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.domain.job import (
    CancelJob,
    DeleteJob,
    Failed,
    Status,
    TimedOut,
)
from reactorcide.projections import jobs
from reactorcide.projections.jobs import SQL, JobFilter
from reactorcide.projections.paging import ROWS_COUNTED, Page
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import OWNER, Journal, now

OTHER: Final = UUID("018f0000-0000-7000-8000-000000000002")

# Rows as they would stand after many jobs; what the log says does not matter to a plan.
_MANY: Final = """
INSERT INTO jobs (
    job_id, user_id, version, status, name, source_type, queue_name, priority, available_at,
    labels, attempt, failures, lost_leases, created_at, updated_at
)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    ('01900000-0000-7000-8000-' || lpad(to_hex(n % 50), 12, '0'))::uuid, 1,
    CASE WHEN n % 100 = 0 THEN 'queued' WHEN n % 100 = 1 THEN 'running'
        WHEN n % 500 = 2 THEN 'submitted' ELSE 'completed' END,
    'job ' || n, 'none', 'q' || n % 3, n % 5,
    CASE WHEN n % 500 = 2 THEN now() + interval '1 hour' END,
    '{}', 0, 0, 0, now(), now()
FROM generate_series(1, $1::int) AS n"""


async def _names(connection: Connection, wanted: JobFilter) -> list[str]:
    listed = await jobs.list_page(connection, wanted, Page())
    assert listed.total == len(listed.rows)
    return [job.submitted.name for job in listed.rows]


async def test_a_list_is_newest_first_and_goes_page_by_page(connection: Connection) -> None:
    """By offset and by key alike; the last page has no next one."""
    journal = Journal(connection)
    submitted = [await journal.submit() for _ in range(5)]
    newest = submitted[::-1]
    first = await jobs.list_page(connection, JobFilter(), Page(limit=2))
    assert [job.job_id for job in first.rows] == newest[:2]
    assert (first.total, first.next_before) == (5, newest[1])
    by_key = await jobs.list_page(connection, JobFilter(), Page(limit=2, before=newest[1]))
    by_offset = await jobs.list_page(connection, JobFilter(), Page(limit=2, offset=2))
    assert by_key == by_offset
    last = await jobs.list_page(connection, JobFilter(), Page(limit=2, before=newest[3]))
    assert [job.job_id for job in last.rows] == newest[4:]
    assert last.next_before is None


async def test_every_filter_narrows_a_list(connection: Connection) -> None:
    """Each alone, on all jobs and on one owner's."""
    journal = Journal(connection)
    await journal.submit(name="Plain")
    await journal.submit(name="gpu", labels={"gpu": "yes", "zone": "a"}, queue_name="fast")
    await journal.submit(
        name="100% _Done_", user_id=OTHER, source_type="git", git_url="https://example.org/a.git"
    )
    between = await connection.fetchval("SELECT now()")
    await journal.tell(await journal.submit(name="late"), CancelJob())
    for wanted, names in (
        (JobFilter(), ["late", "100% _Done_", "gpu", "Plain"]),
        (JobFilter(user_id=OTHER), ["100% _Done_"]),
        (JobFilter(user_id=OWNER), ["late", "gpu", "Plain"]),
        (JobFilter(status=Status.CANCELLED), ["late"]),
        (JobFilter(queue_name="fast"), ["gpu"]),
        (JobFilter(source_type="git"), ["100% _Done_"]),
        (JobFilter(labels={"gpu": "yes"}), ["gpu"]),
        (JobFilter(labels={"gpu": "no"}), []),
        (JobFilter(labels={"gpu": "yes", "zone": "a"}, user_id=OWNER), ["gpu"]),
        (JobFilter(created_after=between), ["late"]),
        (JobFilter(created_before=between, user_id=OWNER), ["gpu", "Plain"]),
        (JobFilter(q="PLAIN"), ["Plain"]),
        (JobFilter(q="% _d"), ["100% _Done_"]),
        (JobFilter(q="%d"), []),
    ):
        assert await _names(connection, wanted) == names, wanted


async def test_a_deleted_job_is_found_nowhere(connection: Connection) -> None:
    """Neither alone, nor among many, nor in a list."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.finish(job_id)
    await journal.tell(job_id, DeleteJob())
    assert await jobs.get(connection, job_id) is None
    assert await jobs.get_many(connection, [job_id]) == {}
    assert await _names(connection, JobFilter()) == []
    assert await _names(connection, JobFilter(user_id=OWNER)) == []
    assert await _names(connection, JobFilter(status=Status.DELETED)) == []


async def test_a_total_is_exact_while_counting_is_cheap(connection: Connection) -> None:
    """None once the scope is larger than what is counted; an owner with few has one still."""
    await connection.execute(_MANY, ROWS_COUNTED + 1)
    owner = await connection.fetchval("SELECT user_id FROM jobs LIMIT 1")
    listed = await jobs.list_page(connection, JobFilter(status=Status.QUEUED), Page(limit=1))
    assert listed.total is None
    owned = await jobs.list_page(connection, JobFilter(user_id=owner), Page(limit=1))
    assert owned.total == await connection.fetchval(
        "SELECT count(*) FROM jobs WHERE user_id = $1", owner
    )


async def test_the_best_priority_is_claimed_first_then_the_oldest(connection: Connection) -> None:
    """Over all queues asked for, and of no other; never more than asked for."""
    journal = Journal(connection)
    old = await journal.submit(queue_name="a")
    urgent = await journal.submit(queue_name="b", priority=5)
    young = await journal.submit(queue_name="a")
    late = await journal.submit(queue_name="b", priority=-5)
    await journal.submit(queue_name="c", priority=9)
    found = await jobs.claimable(connection, ["a", "b"], {}, 10)
    assert [job.job_id for job in found] == [urgent, old, young, late]
    assert len(await jobs.claimable(connection, ["a", "b"], {}, 3)) == 3
    assert await jobs.claimable(connection, [], {}, 3) == []


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
        found = await jobs.claimable(connection, ["default"], carried, 5)
        assert [job.job_id for job in found] == [job_id] * is_found


async def test_a_retry_is_not_claimable_before_its_time(connection: Connection) -> None:
    """And its time is what is waited for next."""
    journal = Journal(connection)
    job_id = await journal.submit(max_attempts=2, retry_backoff_seconds=600)
    await journal.finish(job_id, Failed(1, "no"))
    job = await jobs.get(connection, job_id)
    assert job is not None
    assert job.state.status is Status.QUEUED
    assert await jobs.claimable(connection, ["default"], {}, 5) == []
    assert await jobs.next_due_at(connection) == job.state.available_at
    sooner = now() + timedelta(seconds=300)
    await journal.submit(run_at=sooner)
    assert await jobs.next_due_at(connection) == sooner


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


@pytest.mark.parametrize(
    ("name", "arguments", "index"),
    [
        ("claimable", (["q0", "q1"], "{}", 4), "jobs_claimable"),
        ("list_of_user", (*[None] * 8, 51, OTHER, 0), "jobs_by_user"),
        ("list_of_all", (*[None] * 8, 51, 0), "jobs_pkey"),
        ("count_of_user", (*[None] * 7, 10_001, OTHER), "jobs_by_user"),
        ("due", (500,), "jobs_waiting"),
        ("blocked", (500,), "jobs_waiting"),
        ("held_without_lease", (500,), "jobs_held"),
        ("next_due_at", (), "jobs_waiting"),
        ("next_due_at", (), "jobs_delayed"),
        ("active_with_key", (OWNER, "q0", "k"), "jobs_unique_key"),
        ("get", (OWNER,), "jobs_pkey"),
    ],
)
async def test_a_hot_query_is_served_by_its_index(
    connection: Connection, name: str, arguments: tuple[Any, ...], index: str
) -> None:
    """With 20,000 jobs of which few are queued, held or waiting, and the planner left alone."""
    await connection.execute(_MANY, 20_000)
    await connection.execute("ANALYZE jobs")
    plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + SQL[name], *arguments))
    assert index in plan
    assert "Seq Scan on jobs" not in plan
