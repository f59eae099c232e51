"""What a handler logs is in its job's log: in order, soon, and all of it before the outcome."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import structlog

from reactorcide.cli.logging import Forwarding
from reactorcide.eventstore.domain.job import Completed, Failed
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.handler_bench import Bench
from reactorcide.tests.worker.jobs_at_work import eventually
from reactorcide.worker import handler_attempt

WAITS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""

CUT_OFF: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""


async def test_all_that_is_logged_meanwhile_is_in_the_jobs_log(bench: Bench) -> None:
    """One line an event, in order, also of tasks and threads that the handler starts."""
    with forwarding():
        claimed = await bench.claim("test.log")
        await bench.call(claimed)
    log = await bench.log(claimed)
    assert log.splitlines() == [
        "info: begun step=1",
        "warning: library_logged library='library' said='careful: hot'",
        "info: from a task",
        "error: from a thread",
    ]
    assert {line["job_id"] for line in bench.lines} == {str(claimed.key.job_id)}
    structlog.get_logger().info("afterwards")
    assert "job_id" not in bench.lines[-1]


@contextmanager
def forwarding() -> Iterator[None]:
    """Hand what libraries log to structlog, as a worker does."""
    library, forward = logging.getLogger("library"), Forwarding()
    library.addHandler(forward)
    yield
    library.removeHandler(forward)


async def test_a_line_is_sent_while_the_handler_runs(bench: Bench) -> None:
    """Soon, in a batch, before any outcome."""
    claimed = await bench.claim("test.forever")
    task = asyncio.create_task(bench.call(claimed))
    await bench.logs(claimed, "info: waiting\n")
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await bench.log(claimed) == "info: waiting\ninfo: cleaning up\n"


async def test_a_lost_lease_ends_the_log_and_not_the_call(bench: Bench) -> None:
    """What is logged after it is nobody's."""
    claimed = await bench.claim("test.log")
    await bench.coordinator.finish(claimed.key, Failed(1, "somebody else ended it"))
    assert await bench.call(claimed) == Completed(None, None)
    assert await bench.log(claimed) == ""


async def test_much_is_sent_in_pieces(bench: Bench) -> None:
    """Of 64 KiB at most, numbered from 1 without gaps."""
    claimed = await bench.claim("test.flood", 2000)
    await bench.call(claimed)
    lines = await _all_lines(bench)
    assert [line.split()[1] for line in lines] == [f"{number:05}" for number in range(2000)]
    rows = await bench.desk.pool.fetch(
        "SELECT seq, length(bytes) AS bytes FROM log_chunks ORDER BY seq"
    )
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert max(row["bytes"] for row in rows) <= 65_536
    assert len(rows) < 40


async def test_what_is_too_much_is_dropped_and_counted(bench: Bench) -> None:
    """A handler that never waits does not fill the memory; its job's log says what is missing."""
    claimed = await bench.claim("test.flood", 6000)
    await bench.call(claimed)
    *lines, last = await _all_lines(bench)
    assert len(lines) == 4 * 1024 * 1024 // 1001
    assert last.startswith(f"{6000 - len(lines)} lines were dropped")


async def test_a_logged_exception_is_in_the_log_with_its_traceback(bench: Bench) -> None:
    """Also one whose message can't be shown."""
    claimed = await bench.claim("test.raise_hidden")
    error = "Unshowable: its message can't be shown"
    assert await bench.call(claimed) == Failed(None, error)
    log = await bench.log(claimed)
    assert log.startswith("error: it broke\nTraceback (most recent call last):\n")
    assert log.count("raise Unshowable") == 2


async def test_lines_outlive_an_outage(bench: Bench, connection: Connection) -> None:
    """They are sent again until they are taken, and are there once; the outcome waits."""
    claimed = await bench.claim("test.log")
    async with connection.transaction():
        await connection.execute("LOCK TABLE log_chunks")
        task = asyncio.create_task(bench.call(claimed))
        await eventually(lambda: _now(connection, CUT_OFF))
        assert not task.done()
    assert await task == Completed(None, None)
    assert len((await bench.log(claimed)).splitlines()) == 3


async def test_a_stop_does_not_wait_for_an_outage(
    bench: Bench, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lines get a moment, no more."""
    monkeypatch.setattr(handler_attempt, "_LAST_WORDS_SECONDS", 0.05)
    claimed = await bench.claim("test.forever")
    async with connection.transaction():
        await connection.execute("LOCK TABLE log_chunks")
        task = asyncio.create_task(bench.call(claimed))
        await eventually(lambda: _now(connection, WAITS))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(bench.said("handler_log_cut_off")) == 1


async def _now(connection: Connection, query: str) -> int:
    """Return a number from a view that a transaction looks at only once by itself."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    number: int = await connection.fetchval(query)
    return number


async def _all_lines(bench: Bench) -> list[str]:
    """Return the lines of the only log; at once, however much that is."""
    query = "SELECT string_agg(bytes, '' ORDER BY seq) FROM log_chunks"
    return str((await bench.desk.pool.fetchval(query)).decode()).splitlines()
