"""A handler is called: what becomes of its attempt, its log lines, and of one that won't stop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
import structlog
from pydantic import JsonValue
from structlog.typing import EventDict, WrappedLogger

from reactorcide.eventstore.domain.job import Completed, Failed, Outcome, Status
from reactorcide.tests.worker import handlers_at_work
from reactorcide.tests.worker.handler_bench import Bench
from reactorcide.tests.worker.jobs_at_work import (
    PATIENCE_SECONDS,
    eventually,
)
from reactorcide.worker.handler_attempt import ERROR_LETTERS
from reactorcide.worker.handlers import (
    NO_HANDLERS,
    load,
)
from reactorcide.worker.loop_watch import LoopWatch

HANDLERS: Final = load([handlers_at_work.__name__])


async def test_a_handler_is_called_with_its_args(bench: Bench) -> None:
    """What it returns is in the outcome, and in the log of facts; a job without args gives None."""
    given: JsonValue = {"to": "ada", "cc": None, "parts": [None, 1.5]}
    claimed = await bench.claim("test.echo", given)
    outcome = await bench.call(claimed)
    assert outcome == Completed(given, None)
    await bench.coordinator.finish(claimed.key, outcome)
    job = await bench.desk.job(claimed.key.job_id)
    assert (job.state.status, job.state.exit_code) == (Status.COMPLETED, None)
    last = (await bench.desk.events(job.job_id))[-1]
    assert last.model_dump() == {"attempt": 1, "exit_code": None, "result": given}
    assert await bench.run("test.echo") == await bench.run("test.nothing") == Completed(None, None)
    assert bench.lines == []
    assert await bench.log(claimed) == ""


async def test_a_function_that_is_not_async_gets_a_thread(bench: Bench) -> None:
    """Its log lines find their job all the same."""
    claimed = await bench.claim("test.thread", [1])
    assert await bench.call(claimed) == Completed({"args": [1], "is_main": False}, None)
    assert await bench.log(claimed) == "info: threaded thread='handler'\n"
    assert await bench.run("test.wrapped", 7) == Completed(7, None)


async def test_threads_are_bounded(bench: Bench) -> None:
    """What comes when all are busy waits for its turn."""
    calls = [bench.threads.start(lambda: handlers_at_work.GO.wait(30)) for _ in range(5)]
    names = {one.name for one in threading.enumerate()}
    await eventually_running(calls, 2)
    handlers_at_work.GO.set()
    assert all([await asyncio.wrap_future(call) for call in calls])
    assert "handler-2" in names
    assert "handler-3" not in names


async def eventually_running(calls: list[Any], count: int) -> None:
    """Wait until so many of them are running, and no more are."""

    async def are_running() -> bool:
        return len([call for call in calls if call.running()]) == count

    await eventually(are_running)


async def test_a_handler_may_ask_for_its_attempt(bench: Bench) -> None:
    """Who it works for, and a logger."""
    claimed = await bench.claim("test.about", queue_name="default", labels={})
    assert await bench.call(claimed) == Completed(
        {
            "job_id": str(claimed.key.job_id),
            "attempt": 1,
            "queue_name": "default",
            "labels": {},
            "is_cancelled": False,
        },
        None,
    )
    assert await bench.log(claimed) == "info: asked about='attempt'\n"
    (line,) = bench.said("asked")
    assert (line["job_id"], line["attempt"]) == (str(claimed.key.job_id), 1)


async def test_an_unknown_handler_fails_the_attempt(bench: Bench) -> None:
    """And names those that there are; the worker lives on."""
    outcome = await bench.run("test.typo")
    assert isinstance(outcome, Failed)
    assert outcome.error.startswith("no handler is called 'test.typo'; this worker has: ")
    assert "test.echo, " in outcome.error
    claimed = await bench.claim("test.typo")
    none = "no handler is called 'test.typo'; this worker has none"
    assert await bench.call(claimed, NO_HANDLERS) == Failed(None, none)


@pytest.mark.parametrize("name", ["test.fail", "test.fail_in_a_thread"])
async def test_a_handler_that_raises_fails_the_attempt(bench: Bench, name: str) -> None:
    """The event has the error, the job's log the traceback."""
    claimed = await bench.claim(name, "no~ such\x1b address")
    error = "ValueError: no\ufffd such\ufffd address"
    assert await bench.call(claimed) == Failed(None, error)
    log = await bench.log(claimed)
    first, second, *_, last = log.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "handlers_at_work.py" in second  # nothing of ours before it
    assert last.startswith("ValueError: no")
    rows = await bench.desk.pool.fetch("SELECT DISTINCT stream FROM log_chunks")
    assert [row["stream"] for row in rows] == ["stderr"]


async def test_an_error_is_bounded(bench: Bench) -> None:
    """However long its message is; one without a message is its name."""
    outcome = await bench.run("test.fail", "x" * 100_000)
    assert isinstance(outcome, Failed)
    assert len(outcome.error) == ERROR_LETTERS
    assert (await bench.run("test.fail", "")) == Failed(None, "ValueError")


async def test_a_handler_cannot_end_the_worker(bench: Bench) -> None:
    """Neither by leaving, nor by a cancellation that nobody asked of it."""
    assert await bench.run("test.exit") == Failed(None, "SystemExit: 3")
    assert await bench.run("test.cancelled_inside") == Failed(None, "CancelledError")


async def test_a_result_is_refused_with_its_size(bench: Bench) -> None:
    """64 KiB of JSON are kept."""
    assert isinstance(await bench.run("test.result", 65_536), Completed)
    refused = await bench.run("test.result", 65_537)
    assert isinstance(refused, Failed)
    assert "65537 bytes" in refused.error
    unfit = await bench.run("test.unfit")
    assert isinstance(unfit, Failed)
    assert "no JSON" in unfit.error


# Stopping


async def test_a_function_in_a_thread_is_asked_to_stop(bench: Bench) -> None:
    """The attempt ends when it has returned, with what it logged until then."""
    claimed = await bench.claim("test.polite")
    task = asyncio.create_task(bench.call(claimed))
    await bench.logs(claimed, "waiting")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await bench.log(claimed)).splitlines()[-1] == "info: stopping"
    assert bench.said("handler_left_behind") == []


async def test_a_function_that_does_not_listen_is_left_behind(bench: Bench) -> None:
    """After its grace, with a warning that names the job; or at once when asked again."""
    for grace_seconds, asks in ((0.01, 1), (PATIENCE_SECONDS * 2, 2)):
        claimed = await bench.claim("test.stubborn")
        task = asyncio.create_task(bench.call(claimed, grace_seconds=grace_seconds))
        await bench.logs(claimed, "waiting")
        for _ in range(asks):
            task.cancel()
            await asyncio.wait([task], timeout=0.01)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert bench.said("handler_left_behind")[-1]["job_id"] == str(claimed.key.job_id)
        await bench.coordinator.finish(claimed.key, Failed(None, "left behind"))


async def test_a_call_that_waits_for_a_thread_is_simply_dropped(bench: Bench) -> None:
    """Nothing of it has begun."""
    busy = [bench.threads.start(lambda: handlers_at_work.GO.wait(30)) for _ in range(2)]
    await eventually_running(busy, 2)
    claimed = await bench.claim("test.thread")
    task = asyncio.create_task(bench.call(claimed))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    handlers_at_work.GO.set()
    await asyncio.gather(*map(asyncio.wrap_future, busy))
    assert bench.said("threaded") == bench.said("handler_left_behind") == []


async def test_one_task_may_work_on_many_attempts(bench: Bench) -> None:
    """Also after one of them was cancelled; none logs into another's log."""
    first, second = await bench.claim("test.forever"), await bench.claim("test.log")

    async def lane() -> Outcome:
        with contextlib.suppress(asyncio.CancelledError):
            await bench.call(first)
        current = asyncio.current_task()
        assert current is not None
        current.uncancel()
        structlog.get_logger().info("between")
        return await bench.call(second)

    task = asyncio.create_task(lane())
    await bench.logs(first, "waiting")
    task.cancel()
    assert await task == Completed(None, None)
    assert await bench.log(first) == "info: waiting\ninfo: cleaning up\n"
    assert len((await bench.log(second)).splitlines()) == 3
    assert "job_id" not in bench.said("between")[0]


# Watching


async def test_a_handler_that_holds_the_event_loop_is_named(bench: Bench) -> None:
    """While it does, once, with where it stands; and how long, once it is over."""
    structlog.configure(processors=[_let_go_when_blocked(bench.lines)])
    claimed = await bench.claim("test.blocking")
    with LoopWatch(0.05):
        await bench.call(claimed)

        async def is_over() -> bool:
            return bool(bench.said("event_loop_free_again"))

        await eventually(is_over)
    (blocked,), (free,) = bench.said("event_loop_blocked"), bench.said("event_loop_free_again")
    for line in (blocked, free):
        assert line["handler"] == "test.blocking"
        assert (line["job_id"], line["attempt"]) == (str(claimed.key.job_id), 1)
    assert any("handlers_at_work.py" in place for place in blocked["stands_at"])
    assert free["seconds"] >= 0.05


def _let_go_when_blocked(lines: list[EventDict]) -> Callable[..., EventDict]:
    def keep(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        lines.append(dict(line))
        if line["event"] == "event_loop_blocked":
            handlers_at_work.GO.set()
        raise structlog.DropEvent

    return keep


async def test_a_held_event_loop_is_told_on_a_terminal_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The watch survives the way in which its lines are written there."""
    structlog.reset_defaults()  # those of a terminal
    with LoopWatch(0.05):
        time.sleep(0.3)  # noqa: ASYNC251  it is to hold the loop

        async def is_told() -> str | None:
            said.append(capsys.readouterr().out)
            return next((one for one in said if "event_loop_free_again" in one), None)

        said: list[str] = []
        await eventually(is_told)
    assert "stands_at=" in "".join(said)
