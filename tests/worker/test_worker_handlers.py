"""A worker runs the jobs that name a handler, and says truly how each ended."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from pydantic import JsonValue

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobCompleted
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import jobs
from reactorcide.tests.worker.handler_bench import HANDLERS
from reactorcide.tests.worker.handlers_at_work import GO
from reactorcide.tests.worker.jobs_at_work import (
    AtWork,
    Desk,
    call_of,
    eventually,
    request,
    settings_for,
    working,
)

QUICK: Final = ["submitted", "claimed", "completed"]

pytestmark = pytest.mark.usefixtures("fresh_handlers", "lines")


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
