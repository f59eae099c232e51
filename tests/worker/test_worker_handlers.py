"""A worker runs the jobs that name a handler, many at a time, and says truly how each ended."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from pydantic import JsonValue
from structlog.typing import EventDict

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobCompleted, JobFailed
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import job_rows, jobs
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.handler_bench import HANDLERS, caught_lines
from reactorcide.tests.worker.handlers_at_work import CALLED, GO
from reactorcide.tests.worker.jobs_at_work import (
    PATIENCE_SECONDS,
    AtWork,
    Desk,
    call_of,
    eventually,
    request,
    settings_for,
    working,
)

QUICK: Final = ["submitted", "queued", "claimed", "completed"]

CUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
NOT_COMPLETED: Final = "SELECT count(*) FROM jobs WHERE status <> 'completed'"


@pytest.fixture(autouse=True)
def fresh_handlers() -> Iterator[None]:
    """Handlers that nobody has called; those that still wait go on in the end."""
    GO.clear()
    CALLED.clear()
    yield
    GO.set()


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[EventDict]]:
    """What the worker logs."""
    with caught_lines() as found:
        yield found


@pytest.fixture
async def at_work(database: Database, tmp_path: Path) -> AsyncIterator[AtWork]:
    """A worker with handlers and four slots."""
    async with working(database, settings_for(tmp_path, concurrency=4), HANDLERS) as opened:
        yield opened


async def called(*args: object) -> None:
    """Wait until handlers have been called with all of these."""

    async def has_been() -> bool:
        return not Counter(args) - Counter(CALLED)

    await eventually(has_been)


# How attempts end


async def test_what_a_handler_returns_is_the_jobs_result(desk: Desk, at_work: AtWork) -> None:
    """In the table and in the fact; there is no exit code."""
    given: JsonValue = {"to": "ada", "cc": None, "parts": [None, 1.5]}
    job = await desk.ends(await desk.call("test.echo", given))
    assert (job.state.status, job.state.exit_code, job.state.attempt) == (Status.COMPLETED, None, 1)
    last = (await desk.events(job.job_id))[-1]
    assert last == JobCompleted(attempt=1, exit_code=None, result=given)
    assert job.state.result is not None
    assert (
        JobCompleted.model_validate_json(
            f'{{"attempt": 1, "exit_code": null, "result": {job.state.result}}}'
        )
        == last
    )
    assert job.state.worker_id == at_work.coordinator.worker_id


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_returns_nothing_leaves_no_result(desk: Desk) -> None:
    """None is no result, and the fact does not hold one."""
    job = await desk.ends(await desk.call("test.nothing"))
    assert (job.state.status, job.state.result, job.state.exit_code) == (
        Status.COMPLETED,
        None,
        None,
    )


@pytest.mark.usefixtures("at_work")
async def test_a_job_of_an_unknown_handler_fails_and_the_worker_lives_on(desk: Desk) -> None:
    """It is told which handler is missing, and which there are."""
    job = await desk.ends(await desk.call("test.typo"))
    assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
    error = job.state.last_error or ""
    assert error.startswith("no handler is called 'test.typo'; this worker has: ")
    assert "test.echo" in error
    assert (await desk.ends(await desk.call("test.nothing"))).state.status is Status.COMPLETED


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_raises_is_tried_as_often_as_asked(desk: Desk) -> None:
    """Then its job fails with what was raised, and the traceback is in each attempt's log."""
    job_id = await desk.call("test.fail", "no luck", max_attempts=3, retry_backoff_seconds=0.01)
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt, job.state.failures) == (Status.FAILED, 3, 3)
    assert job.state.last_error == "ValueError: no luck"
    assert Counter(await desk.names(job_id))["retry_scheduled"] == 2
    for attempt in (1, 2, 3):
        assert b"ValueError: no luck" in await desk.log(job_id, attempt)


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_raises_no_exception_fails_its_job(desk: Desk) -> None:
    """Whatever it raises ends its own attempt, and neither the worker nor its slot."""
    for name in ("test.raise_base", "test.exit", "test.cancelled_inside"):
        ids = [await desk.call(name) for _ in range(6)]  # more than there are slots
        for job_id in ids:
            job = await desk.ends(job_id)
            assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
    assert (await desk.ends(await desk.call("test.nothing"))).state.status is Status.COMPLETED


async def test_outcomes_of_all_kinds_go_together(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """What ends at the same time is reported at once, and each is what it is."""
    calls = {
        "completed": call_of("test.nothing"),
        "with a result": call_of("test.echo", [1]),
        "failed": call_of("test.typo"),
        "retried": call_of("test.typo", max_attempts=2, retry_backoff_seconds=600),
        "raised": call_of("test.fail", "no luck"),
    }
    ids = await desk.submit_many([*calls.values()] * 8)
    async with working(database, settings_for(tmp_path, concurrency=40), HANDLERS):

        async def have_ended() -> bool:
            found = await jobs.get_many(desk.pool, ids)
            return all(
                job.completed_at is not None or job.state.failures == 1 for job in found.values()
            )

        await eventually(have_ended)
        found = await jobs.get_many(desk.pool, ids)
    ended = dict(zip(calls, ([found[one] for one in ids[nth::5]] for nth in range(5)), strict=True))
    statuses = {name: {job.state.status for job in group} for name, group in ended.items()}
    assert statuses == {
        "completed": {Status.COMPLETED},
        "with a result": {Status.COMPLETED},
        "failed": {Status.FAILED},
        "retried": {Status.QUEUED},
        "raised": {Status.FAILED},
    }
    assert {job.state.result for job in ended["with a result"]} == {"[1]"}
    assert {job.state.last_error for job in ended["raised"]} == {"ValueError: no luck"}
    assert {job.state.failures for job in ended["retried"]} == {1}
    # One statement has one time: these did not wait for each other's reports.
    together = {
        job.updated_at for name in ("completed", "failed", "retried") for job in ended[name]
    }
    assert len(together) < 8


@pytest.mark.usefixtures("at_work")
async def test_a_function_that_is_not_async_runs_in_a_thread(desk: Desk) -> None:
    """Its result and its log lines arrive as any other's."""
    job = await desk.ends(await desk.call("test.thread", [1]))
    assert job.state.status is Status.COMPLETED
    last = (await desk.events(job.job_id))[-1]
    assert last == JobCompleted(attempt=1, exit_code=None, result={"args": [1], "is_main": False})
    assert await desk.log(job.job_id) == b"info: threaded thread='handler'\n"


@pytest.mark.usefixtures("at_work")
async def test_commands_and_handlers_work_side_by_side(desk: Desk) -> None:
    """They share the slots; each ends as its kind does."""
    commands = await desk.submit_many([request("echo hello")] * 6, rings=False)
    handled = [await desk.call("test.echo", nth) for nth in range(6)]
    for job_id in commands:
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.COMPLETED, 0)
        assert await desk.log(job_id) == b"hello\n"
    for nth, job_id in enumerate(handled):
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.COMPLETED, None)
        assert job.state.result == str(nth)


# What is told of a start


@pytest.mark.usefixtures("at_work")
async def test_a_quick_handler_is_never_said_to_run(desk: Desk) -> None:
    """Its job goes from claimed to completed; when it was started is then not known."""
    job = await desk.ends(await desk.call("test.echo", 1))
    assert await desk.names(job.job_id) == QUICK
    assert job.claimed_at is not None
    assert job.started_at is None


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_takes_its_time_is_said_to_run(desk: Desk) -> None:
    """Once, from soon after it began."""
    job_id = await desk.call("test.until")
    job = await desk.becomes(job_id, Status.RUNNING)
    assert job.started_at is not None
    assert job.claimed_at is not None
    assert job.started_at > job.claimed_at
    GO.set()
    ended = await desk.ends(job_id)
    assert ended.started_at == job.started_at
    assert await desk.names(job_id) == [*QUICK[:-1], "started", "completed"]


# Being stopped


@pytest.mark.usefixtures("at_work")
async def test_a_running_handler_is_cancelled_on_request(desk: Desk) -> None:
    """Inside it that is a CancelledError; what it logs then is kept, and its job is cancelled."""
    job_id = await desk.call("test.forever")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id)
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.exit_code) == (Status.CANCELLED, None)
    assert await desk.log(job_id) == b"info: waiting\ninfo: cleaning up\n"
    assert (await desk.names(job_id))[-2:] == ["cancel_requested", "cancelled"]


@pytest.mark.usefixtures("at_work")
async def test_a_function_in_a_thread_may_see_that_it_should_stop(desk: Desk) -> None:
    """By its attempt's `is_cancelled`."""
    job_id = await desk.call("test.polite")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED
    assert await desk.log(job_id) == b"info: waiting\ninfo: stopping\n"


@pytest.mark.usefixtures("at_work")
async def test_a_kill_cancels_once_more(desk: Desk) -> None:
    """A handler that held back its first cancellation gets another."""
    job_id = await desk.call("test.deaf")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id, grace_seconds=600)
    await called("cancelled")
    assert (await desk.job(job_id)).state.status is Status.RUNNING
    await desk.cancel(job_id, grace_seconds=0)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED
    assert CALLED == ["called", "cancelled", "cancelled again"]


@pytest.mark.usefixtures("at_work")
async def test_a_handler_that_is_killed_at_once_may_not_hold_that_back(desk: Desk) -> None:
    """There is no first cancellation that could be all it ever gets."""
    job_id = await desk.call("test.deaf")
    await desk.becomes(job_id, Status.RUNNING)
    await desk.cancel(job_id, grace_seconds=0)
    assert (await desk.ends(job_id)).state.status is Status.CANCELLED


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize("name", ["test.forever", "test.deaf", "test.polite", "test.stubborn"])
async def test_a_handler_may_not_run_longer_than_its_timeout(desk: Desk, name: str) -> None:
    """Then it is cancelled, once more after its grace; a thread that won't stop is left behind."""
    job = await desk.ends(await desk.call(name, timeout_seconds=1))
    assert (job.state.status, job.state.exit_code) == (Status.TIMEOUT, None)
    assert job.state.last_error == "ran longer than 1 s"


async def test_a_handler_that_can_still_retry_is_tried_again_after_a_timeout(
    desk: Desk, at_work: AtWork
) -> None:
    """A timeout counts as a failure, and the worker goes on."""
    job_id = await desk.call(
        "test.until", timeout_seconds=1, max_attempts=2, retry_backoff_seconds=0.01
    )

    async def is_second() -> bool:
        return len(CALLED) == 2

    await eventually(is_second)
    GO.set()
    job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt, job.state.failures) == (Status.COMPLETED, 2, 1)
    assert not at_work.task.done()


async def test_a_handler_that_does_not_end_while_draining_is_released(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Its job is queued again, and the attempt does not count as a failure."""
    settings = settings_for(tmp_path, drain_seconds=0.1)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.forever")
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        await at_work.task
        job = await desk.job(job_id)
        assert (job.state.status, job.state.failures) == (Status.QUEUED, 0)
        assert (await desk.names(job_id))[-1] == "released"
        assert await desk.log(job_id) == b"info: waiting\ninfo: cleaning up\n"


async def test_a_handler_may_end_while_the_worker_drains(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Nothing new is taken meanwhile."""
    async with working(database, settings_for(tmp_path, concurrency=2), HANDLERS) as at_work:
        job_id = await desk.call("test.until", 1)
        await called(1)
        at_work.stop.set()

        async def is_draining() -> bool:
            sql = "SELECT count(*) FROM workers WHERE status = 'draining'"
            return bool(await desk.pool.fetchval(sql))

        await eventually(is_draining)
        later = await desk.call("test.nothing")
        GO.set()
        await at_work.task
        assert (await desk.job(job_id)).state.status is Status.COMPLETED
        assert (await desk.job(later)).state.status is Status.QUEUED


@pytest.mark.parametrize("name", ["test.forever", "test.deaf", "test.stubborn"])
async def test_a_second_signal_does_not_wait(
    database: Database, desk: Desk, tmp_path: Path, name: str
) -> None:
    """Neither for draining nor for a handler that holds back its first cancellation."""
    settings = settings_for(tmp_path, drain_seconds=600, grace_seconds=600)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call(name)
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        at_work.worker.release()
        async with asyncio.timeout(5):
            await at_work.task
        assert (await desk.names(job_id))[-1] == "released"


async def test_a_drain_does_not_wait_for_a_handler_that_won_t_obey_at_first(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """After its grace it is cancelled once more, without another signal."""
    settings = settings_for(tmp_path, drain_seconds=0.1, grace_seconds=0.2)
    async with working(database, settings, HANDLERS) as at_work:
        job_id = await desk.call("test.deaf")
        await desk.becomes(job_id, Status.RUNNING)
        at_work.stop.set()
        async with asyncio.timeout(5):
            await at_work.task
        assert (await desk.names(job_id))[-1] == "released"


async def test_no_task_is_left_after_handlers(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Nor of a worker that is torn down while they run."""
    before = asyncio.all_tasks()
    async with working(database, settings_for(tmp_path, concurrency=4), HANDLERS) as at_work:
        for job_id in [await desk.call("test.fail", "no") for _ in range(8)]:
            await desk.ends(job_id)
        for name in ("test.forever", "test.deaf"):
            await desk.becomes(await desk.call(name), Status.RUNNING)
        at_work.task.cancel()
        await asyncio.wait([at_work.task])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


# Many at a time, and troubles


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
