"""Lists of jobs: what they find, in which order, and how many rows they read for it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.domain.job import (
    CancelJob,
    ClaimJob,
    DeleteJob,
    Failed,
    Status,
    TimedOut,
)
from reactorcide.projections import job_lists
from reactorcide.projections.job_lists import STATEMENTS, JobFilter
from reactorcide.projections.paging import ROWS_COUNTED, Page
from reactorcide.tests.projections.journal import OWNER, WORKER, Journal, now
from reactorcide.tests.projections.many_jobs import RARE, explained, fill, is_of_jobs, rows_read

OTHER: Final = UUID("018f0000-0000-7000-8000-000000000002")
NEWEST: Final = UUID(int=2**128 - 1)
LIMIT: Final = 50


async def _names(connection: Connection, wanted: JobFilter) -> list[str]:
    listed = await job_lists.list_page(connection, wanted, Page())
    assert listed.total == len(listed.rows)
    return [job.submitted.name for job in listed.rows]


async def test_a_list_is_newest_first_and_goes_page_by_page(connection: Connection) -> None:
    """By offset and by key alike; the last page has no next one."""
    journal = Journal(connection)
    submitted = [await journal.submit() for _ in range(5)]
    newest = submitted[::-1]
    first = await job_lists.list_page(connection, JobFilter(), Page(limit=2))
    assert [job.job_id for job in first.rows] == newest[:2]
    assert (first.total, first.next_before) == (5, newest[1])
    by_key = await job_lists.list_page(connection, JobFilter(), Page(limit=2, before=newest[1]))
    by_offset = await job_lists.list_page(connection, JobFilter(), Page(limit=2, offset=2))
    assert by_key == by_offset
    last = await job_lists.list_page(connection, JobFilter(), Page(limit=2, before=newest[3]))
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


async def test_a_deleted_job_is_in_no_list(connection: Connection) -> None:
    """Whatever is asked for."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.finish(job_id)
    await journal.tell(job_id, DeleteJob())
    assert await _names(connection, JobFilter()) == []
    assert await _names(connection, JobFilter(user_id=OWNER)) == []
    for status in Status:
        assert await _names(connection, JobFilter(status=status)) == []


async def test_every_status_has_its_list(connection: Connection) -> None:
    """Each job is in the list of its own status and of no other."""
    journal = Journal(connection)
    ways = {
        Status.SUBMITTED: journal.submit(name="submitted", run_at=now() + timedelta(hours=1)),
        Status.QUEUED: journal.submit(name="queued"),
        Status.RUNNING: journal.submit(name="running"),
        Status.CLAIMED: journal.submit(name="claimed"),
        Status.COMPLETED: journal.submit(name="completed"),
        Status.FAILED: journal.submit(name="failed"),
        Status.CANCELLED: journal.submit(name="cancelled"),
        Status.TIMEOUT: journal.submit(name="timeout"),
    }
    ids = {status: await submitted for status, submitted in ways.items()}
    await journal.claim(ids[Status.RUNNING])
    await journal.tell(ids[Status.CLAIMED], ClaimJob(WORKER, 15, now()))
    await journal.finish(ids[Status.COMPLETED])
    await journal.finish(ids[Status.FAILED], Failed(1, "no"))
    await journal.tell(ids[Status.CANCELLED], CancelJob())
    await journal.finish(ids[Status.TIMEOUT], TimedOut(143, "too long"))
    for status in ids:
        assert await _names(connection, JobFilter(status=status)) == [status]
        assert await _names(connection, JobFilter(status=status, user_id=OWNER)) == [status]
        assert await _names(connection, JobFilter(status=status, user_id=OTHER)) == []
        assert await _names(connection, JobFilter(status=status, q="NO SUCH")) == []


async def test_a_total_is_exact_while_counting_is_cheap(connection: Connection) -> None:
    """None once the scope is larger than what is counted; one owner, or status, has one still."""
    await fill(connection, ROWS_COUNTED + 100)
    for wanted in (JobFilter(), JobFilter(queue_name="q1")):
        assert (await job_lists.list_page(connection, wanted, Page())).total is None
    for wanted, condition in (
        (JobFilter(user_id=RARE), f"user_id = '{RARE}'"),
        (JobFilter(status=Status.QUEUED), "status = 'queued'"),
        (
            JobFilter(status=Status.RUNNING, queue_name="q1"),
            "status = 'running' AND queue_name = 'q1'",
        ),
        (
            JobFilter(status=Status.QUEUED, queue_name="q1", source_type="none"),
            "status = 'queued' AND queue_name = 'q1'",
        ),
        (
            JobFilter(status=Status.FAILED, queue_name="q1"),
            "status = 'failed' AND queue_name = 'q1'",
        ),
    ):
        counted = await connection.fetchval(
            "SELECT count(*) FROM jobs WHERE " + condition  # noqa: S608  our own words
        )
        assert (await job_lists.list_page(connection, wanted, Page())).total == counted > 0


async def test_the_total_of_a_queue_is_exact_however_long_it_is(connection: Connection) -> None:
    """It is kept, not counted."""
    for _ in range(3):
        await connection.execute(
            "INSERT INTO queue_changes (queue_name, status, jobs) VALUES ('q', 'queued', 50000)"
        )
    for wanted, total in (
        (JobFilter(status=Status.QUEUED), 150_000),
        (JobFilter(status=Status.QUEUED, queue_name="q"), 150_000),
        (JobFilter(status=Status.QUEUED, queue_name="p"), 0),
        (JobFilter(status=Status.RUNNING), 0),
        (JobFilter(status=Status.QUEUED, q="x"), 0),
        (JobFilter(status=Status.QUEUED, user_id=OWNER), 0),
    ):
        assert (await job_lists.list_page(connection, wanted, Page())).total == total, wanted


async def test_a_filter_that_few_pass_is_looked_through_page_by_page(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be short, or empty, and not the last; following it shows each job once."""
    short = {
        status: {
            name: sql.replace("LIMIT 10000\n", "LIMIT 4\n").replace("9999", "3")
            for name, sql in made.items()
        }
        for status, made in STATEMENTS.items()
    }
    assert short[None] != STATEMENTS[None]
    monkeypatch.setattr(job_lists, "STATEMENTS", short)
    journal = Journal(connection)
    submitted = [
        await journal.submit(queue_name="rare" if nth in {1, 13, 14} else "often")
        for nth in range(16)
    ]
    for user_id in (None, OWNER):
        wanted = JobFilter(user_id=user_id, queue_name="rare")
        seen, page, pages = [], Page(limit=1), 0
        while pages < 20:
            listed = await job_lists.list_page(connection, wanted, page)
            assert len(listed.rows) <= 1
            assert listed.total == 3
            seen += [job.job_id for job in listed.rows]
            pages += 1
            if listed.next_before is None:
                break
            page = Page(limit=1, before=listed.next_before)
        assert seen == [submitted[14], submitted[13], submitted[1]]
        assert 5 <= pages <= 7


@pytest.fixture
async def reader(database: Database, connection: Connection) -> AsyncIterator[Connection]:
    """A connection as the pool lends it, over 20,000 jobs."""
    await fill(connection, 20_000)
    pool = await database.create_pool(1, 1)
    async with pool.acquire() as pooled:
        yield pooled
    await pool.close()


AMISS: Final = (Status.FAILED, Status.CANCELLED, Status.TIMEOUT)
PARTITIONS: Final = {
    Status.SUBMITTED: "jobs_waiting",
    Status.QUEUED: "jobs_ready",
    Status.CLAIMED: "jobs_held",
    Status.RUNNING: "jobs_held",
    **dict.fromkeys((Status.COMPLETED, *AMISS), "jobs_ended"),
}
NO_FILTER: Final = (None,) * 6


def _arguments(name: str, owner: UUID, before: UUID) -> tuple[Any, ...]:
    """Return what a statement is given for a page of 50."""
    what, _, whose = name.rpartition("_of_")
    keys: dict[str, tuple[Any, ...]] = {
        "page": (before, LIMIT + 1, 0),
        "passing": (before, LIMIT + 1, 0, *NO_FILTER),
        "look": (before,),
        "count": (),
        "count_passing": NO_FILTER,
    }
    return (*keys[what], [owner]) if whose == "user" else keys[what]


@pytest.mark.parametrize("status", STATEMENTS)
async def test_a_page_reads_no_more_than_it_shows(
    reader: Connection, status: Status | None
) -> None:
    """By the plan that is made once: of its partition only, in an index's order, row by row.

    From the newest on and from the middle, of an owner of many and of one of few. At most one
    row of each partition is read in vain, and of one owner's all that is held just now.
    """
    held = await reader.fetchval("SELECT count(*) FROM jobs_held")
    owner = await reader.fetchval("SELECT user_id FROM jobs_ended WHERE user_id <> $1", RARE)
    middle = await reader.fetchval("SELECT job_id FROM jobs ORDER BY 1 OFFSET 10000 LIMIT 1")
    for name, sql in STATEMENTS[status].items():
        if not name.startswith(("page", "passing")):
            continue
        for whose, before in ((owner, NEWEST), (RARE, NEWEST), (owner, middle)):
            nodes = await explained(reader, sql, _arguments(name, whose, before))
            scans = [node for node in nodes if is_of_jobs(node)]
            if status is not None:
                assert {node["Relation Name"] for node in scans} <= {PARTITIONS[status]}
            assert not any(node["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"} for node in scans)
            of_others = held if name.endswith("_of_user") else 0
            between = await _of_other_statuses(reader, status)
            assert sum(map(rows_read, scans)) <= LIMIT + 1 + 4 + of_others + between, (name, scans)


async def _of_other_statuses(reader: Connection, status: Status | None) -> int:
    """Return how many rows of its partition a list without an index of its own must step over."""
    if status not in {Status.COMPLETED, Status.CLAIMED, Status.RUNNING}:
        return 0
    count: int = await reader.fetchval(
        f"SELECT count(*) FROM {PARTITIONS[status]} WHERE status <> $1",  # noqa: S608  our name
        status,
    )
    return count


@pytest.mark.parametrize("status", STATEMENTS)
async def test_a_look_and_a_count_have_an_end(reader: Connection, status: Status | None) -> None:
    """No more rows are read than are counted, or looked at, whatever there is."""
    for name, sql in STATEMENTS[status].items():
        if name.startswith(("page", "passing")):
            continue
        nodes = await explained(reader, sql, _arguments(name, RARE, NEWEST))
        scans = [node for node in nodes if is_of_jobs(node)]
        most = job_lists.ROWS_LOOKED_AT if name.startswith("look") else ROWS_COUNTED + 1
        between = await _of_other_statuses(reader, status)
        assert sum(map(rows_read, scans)) <= most + 4 + between, name


async def test_a_page_and_its_total_are_planned_once(reader: Connection) -> None:
    """A page's length and beginning, or its owner, make no plan look cheaper than that for any."""
    for status, made in STATEMENTS.items():
        for name, sql in made.items():
            if name.startswith(("page", "count_of")):
                for _ in range(6):  # the server tries five that are made for their values
                    await reader.fetch(sql, *_arguments(name, RARE, NEWEST))
                planned_once = await reader.fetchval(
                    "SELECT generic_plans FROM pg_prepared_statements WHERE statement = $1", sql
                )
                assert planned_once > 0, (status, name)


async def test_all_jobs_are_counted_without_their_rows(reader: Connection) -> None:
    """In indexes alone; what is held just now has none by owner, and is little."""
    for name in ("count_of_all", "count_of_user"):
        nodes = await explained(reader, STATEMENTS[None][name], _arguments(name, RARE, NEWEST))
        scans = {str(node["Relation Name"]): node for node in nodes if is_of_jobs(node)}
        assert set(scans) == {"jobs_ended", "jobs_held", "jobs_ready", "jobs_waiting"}
        if name == "count_of_user":
            del scans["jobs_held"]
        assert {node["Node Type"] for node in scans.values()} == {"Index Only Scan"}


@pytest.mark.parametrize("status", AMISS)
async def test_the_few_that_did_not_complete_are_found_at_once(
    reader: Connection, status: Status
) -> None:
    """By an index that has them alone; where they are few, by any of the two that have."""
    for name, sql in STATEMENTS[status].items():
        nodes = await explained(reader, sql, _arguments(name, RARE, NEWEST))
        (scan,) = [node for node in nodes if is_of_jobs(node)]
        usual = {"jobs_ended_amiss_by_user"} if name.endswith("_of_user") else set()
        if not usual or status is not Status.FAILED:
            usual.add("jobs_ended_amiss")
        assert scan["Index Name"] in usual
