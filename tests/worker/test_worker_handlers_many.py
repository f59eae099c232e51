"""A worker with many handlers at a time, and in trouble: none is lost, none runs twice."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from structlog.typing import EventDict

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobFailed
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import job_rows
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.handler_bench import HANDLERS, called
from reactorcide.tests.worker.handlers_at_work import CALLED, GO
from reactorcide.tests.worker.jobs_at_work import (
    PATIENCE_SECONDS,
    AtWork,
    Desk,
    call_of,
    eventually,
    settings_for,
    working,
)

QUICK: Final = ["submitted", "claimed", "completed"]

CUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
NOT_COMPLETED: Final = "SELECT count(*) FROM jobs WHERE status <> 'completed'"

pytestmark = pytest.mark.usefixtures("fresh_handlers", "lines")


async def test_three_hundred_jobs_run_once_each(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """As many at a time as there are slots, in one attempt each."""
    ids = await desk.submit_many([call_of("test.recorded", nth) for nth in range(300)])
    async with working(database, settings_for(tmp_path, concurrency=50), HANDLERS):
        await _all_complete(desk, ids)
    assert sorted(CALLED) == list(range(300))
    counts = await desk.pool.fetch("SELECT type, count(*) FROM events GROUP BY type")
    found = {row["type"]: row["count"] for row in counts}
    assert (found["job.claimed"], found["job.completed"]) == (300, 300)


async def test_no_more_handlers_run_than_there_are_slots(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Though all slots are used."""
    ids = await desk.submit_many([call_of("test.until", nth) for nth in range(12)])
    async with working(database, settings_for(tmp_path, concurrency=5), HANDLERS):
        await called(*range(5))
        for job_id in ids[:5]:
            await desk.becomes(job_id, Status.RUNNING)
        assert len(CALLED) == 5
        GO.set()
        await _all_complete(desk, ids)
    assert sorted(CALLED) == list(range(12))


async def _all_complete(desk: Desk, ids: list[UUID]) -> None:
    async def are_completed() -> bool:
        sql = f"{NOT_COMPLETED} AND job_id = ANY ($1)"
        return not await desk.pool.fetchval(sql, ids)

    await eventually(are_completed)


async def test_a_held_event_loop_loses_no_lease(
    database: Database, desk: Desk, lines: list[EventDict], tmp_path: Path
) -> None:
    """It is renewed meanwhile, for two leases long, and who holds the loop is named."""
    settings = settings_for(tmp_path, lease_seconds=1, concurrency=4)
    async with working(database, settings, HANDLERS):
        assert (await desk.ends(await desk.call("test.nothing"))).state.status is Status.COMPLETED
        with _looking_after(database.uri) as seen:
            ids = await desk.submit_many([call_of("test.blocking") for _ in range(2)])
            for job_id in ids:
                assert (await desk.ends(job_id)).state.status is Status.COMPLETED
    assert len(seen) > 2
    for job_id in ids:
        assert await desk.names(job_id) == QUICK
    blocked = [line for line in lines if line["event"] == "event_loop_blocked"]
    assert {line["handler"] for line in blocked} == {"test.blocking"}
    assert blocked[0]["job_id"] in set(map(str, ids))


@contextmanager
def _looking_after(uri: str) -> Iterator[list[int]]:
    """Do the upkeep in a thread, as another program would; let go of the loop after 2 s of it."""
    seen: list[int] = []
    is_over = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_keep_looking(Database(uri), seen, is_over))
    )
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        GO.set()
        thread.join(PATIENCE_SECONDS)


async def _keep_looking(database: Database, seen: list[int], is_over: threading.Event) -> None:
    sql = (
        "SELECT count(*) FROM jobs WHERE status = 'claimed' AND claimed_at < now() - interval '2 s'"
    )
    async with await database.create_pool(1, 1) as pool, Appender(database, job_rows.rows) as write:
        while not is_over.is_set():
            seen.append((await upkeep(pool, write)).expired)
            if await pool.fetchval(sql):
                GO.set()
            await asyncio.sleep(0.02)


async def test_timeouts_hold_while_the_database_does_not_answer(
    database: Database, desk: Desk, connection: Connection, tmp_path: Path
) -> None:
    """A start that can't be recorded keeps nobody from being cancelled in time."""
    async with working(database, settings_for(tmp_path, concurrency=4), HANDLERS):
        assert (await desk.ends(await desk.call("test.nothing"))).state.status is Status.COMPLETED
        job_id = await desk.call("test.deaf", timeout_seconds=1)
        await called("called")
        async with connection.transaction():
            await connection.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            await called("cancelled")
        assert (await desk.ends(job_id)).state.status is Status.TIMEOUT


async def test_outcomes_are_reported_after_the_connections_were_cut(
    database: Database, desk: Desk, connection: Connection, tmp_path: Path
) -> None:
    """Each job ends once, by its first attempt."""
    ids = await desk.submit_many([call_of("test.until", nth) for nth in range(20)])
    async with working(database, settings_for(tmp_path, concurrency=20), HANDLERS):
        await called(*range(20))
        await connection.execute(CUT)
        GO.set()
        await eventually(lambda: _is_all_done(connection))
    rows = await connection.fetch(
        "SELECT stream_id, type, count(*) FROM events WHERE stream_id = ANY ($1) GROUP BY 1, 2", ids
    )
    counts = Counter((row["type"], row["count"]) for row in rows)
    assert counts["job.completed", 1] == counts["job.claimed", 1] == 20
    assert sorted(CALLED) == list(range(20))


async def test_no_job_is_lost_when_connections_are_cut_again_and_again(
    database: Database, desk: Desk, connection: Connection, tmp_path: Path
) -> None:
    """A claim whose answer was lost is taken again when its lease is over; each job ends once."""
    ids = await desk.submit_many([call_of("test.recorded", nth) for nth in range(400)])
    settings = settings_for(tmp_path, concurrency=10, lease_seconds=1.5, poll_seconds=0.2)
    async with working(database, settings, HANDLERS):
        for calls in (40, 120, 200):

            async def has_got_so_far(wanted: int = calls) -> bool:
                return len(CALLED) >= wanted

            await eventually(has_got_so_far)
            await connection.execute(CUT)
        await eventually(lambda: _is_all_done(connection), 30)
    assert set(CALLED) == set(range(400))
    ended = await connection.fetchval(
        "SELECT count(*) FROM events WHERE type = 'job.completed' AND stream_id = ANY ($1)", ids
    )
    assert ended == 400


async def _is_all_done(connection: Connection) -> bool:
    return not await connection.fetchval(NOT_COMPLETED)


async def test_a_lost_lease_stops_the_handler_and_nothing_of_it_counts(
    desk: Desk, at_work: AtWork
) -> None:
    """Somebody saw it end; the next attempt is the one that completes."""
    job_id = await desk.call("test.until", 1)
    await desk.becomes(job_id, Status.RUNNING)
    sql = "UPDATE jobs SET lease_until = now() - interval '1 minute' WHERE job_id = $1"
    await desk.pool.execute(sql, job_id)

    async def is_called_again() -> bool:
        await upkeep(desk.pool, desk.write)
        desk.doorbell.ring("jobs")
        return len(CALLED) == 2

    await eventually(is_called_again)
    GO.set()
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt, job.state.lost_leases) == (Status.COMPLETED, 2, 1)
    assert JobFailed not in {type(event) for event in await desk.events(job_id)}
    assert not at_work.task.done()
