"""A ring wakes; a lost ring costs the time limit and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from reactorcide.eventstore.database import Database, DatabaseUnavailable
from reactorcide.eventstore.doorbell import HALF_OPEN_SECONDS, TOPICS, Doorbell
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.support.silent_line import SilentLine

LONG = 10.0
BRIEFLY = 0.03

LISTENING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'reactorcide'
ORDER BY backend_start
"""


@pytest.fixture
async def doorbell(database: Database) -> AsyncIterator[Doorbell]:
    """The doorbell of one program."""
    async with Doorbell(database) as opened:
        yield opened


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[Doorbell]:
    """The doorbell of another program."""
    async with Doorbell(database) as opened:
        yield opened


async def test_a_ring_elsewhere_wakes_within_milliseconds(
    doorbell: Doorbell, elsewhere: Doorbell
) -> None:
    """The best of ten round trips is well below a tenth of a second on any machine."""
    clock = asyncio.get_running_loop().time
    delays = []
    with doorbell.listen("jobs") as listener:
        for _ in range(10):
            start = clock()
            elsewhere.ring("jobs")
            assert await listener.wait(LONG)
            delays.append(clock() - start)
    assert min(delays) < 0.1


async def test_a_ring_wakes_at_home_at_once(doorbell: Doorbell) -> None:
    """Listeners of the same program need no round trip, and are woken once."""
    with doorbell.listen("jobs") as listener:
        doorbell.ring("jobs")
        assert await listener.wait(0.001)
        assert not await listener.wait(BRIEFLY)


async def test_only_the_topics_asked_for_wake(doorbell: Doorbell, elsewhere: Doorbell) -> None:
    """A listener to jobs and control does not hear logs."""
    with doorbell.listen("jobs", "control") as listener, doorbell.listen("logs") as logs:
        elsewhere.ring("logs")
        assert await logs.wait(LONG)
        assert not await listener.wait(BRIEFLY)
        elsewhere.ring("control")
        assert await listener.wait(LONG)


async def test_a_ring_before_the_wait_is_not_missed(
    doorbell: Doorbell, elsewhere: Doorbell
) -> None:
    """What was rung while the listener was busy ends its next wait."""
    with doorbell.listen("jobs") as listener, doorbell.listen("jobs") as other:
        elsewhere.ring("jobs")
        assert await other.wait(LONG)
        assert await listener.wait(0.001)


async def test_rings_are_sent_together(
    doorbell: Doorbell, elsewhere: Doorbell, connection: Connection
) -> None:
    """A thousand rings in a row become a few notifications; the last one is never lost."""
    heard = 0

    def count(*_notification: object) -> None:
        nonlocal heard
        heard += 1

    async def anything_was_heard() -> bool:
        await connection.execute("SELECT 1")
        return heard > 0

    await connection.add_listener("reactorcide_jobs", count)
    with doorbell.listen("jobs") as listener:
        for _ in range(1000):
            elsewhere.ring("jobs")
        assert await listener.wait(LONG)
        await until(anything_was_heard)
        assert heard == 1
        while await listener.wait(BRIEFLY):
            pass
        elsewhere.ring("jobs")
        assert await listener.wait(LONG)
    await connection.execute("SELECT 1")
    assert heard <= 3


async def test_a_ring_just_before_the_end_is_sent(database: Database, doorbell: Doorbell) -> None:
    """And so is one that had been rung before."""
    for rings in (1, 2):
        with doorbell.listen("jobs") as jobs:
            async with Doorbell(database, ()) as leaving:
                await asyncio.sleep(0)
                for _ in range(rings):
                    leaving.ring("jobs")
            assert await jobs.wait(LONG)


async def test_a_ring_on_a_connection_that_broke_is_sent_on_the_next(
    doorbell: Doorbell, elsewhere: Doorbell, connection: Connection
) -> None:
    """What could not be sent is not forgotten."""
    with doorbell.listen("logs") as logs:
        for (pid,) in (await connection.fetch(LISTENING))[1:]:
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        elsewhere.ring("logs")
        assert await logs.wait(LONG)
        assert elsewhere.losses <= 1


async def test_a_ring_that_has_time_goes_with_the_next(
    doorbell: Doorbell, elsewhere: Doorbell
) -> None:
    """And by itself when there is none."""
    with doorbell.listen("jobs") as jobs, doorbell.listen("events") as events:
        elsewhere.ring("events", 3600)
        assert not await events.wait(BRIEFLY)
        elsewhere.ring("jobs")
        assert await jobs.wait(LONG)
        assert await events.wait(LONG)
        elsewhere.ring("events", 0.01)
        assert await events.wait(LONG)


async def test_a_ring_may_be_taken_when_none_went_out_lately(
    doorbell: Doorbell, elsewhere: Doorbell
) -> None:
    """By one, who rings himself; what is rung behind it goes out all the same, 5 ms later."""
    clock = asyncio.get_running_loop().time
    with doorbell.listen("jobs") as listener:
        began = clock()
        assert [elsewhere.take_ring() for _ in range(3)] == [True, False, False]
        elsewhere.ring("jobs")
        assert await listener.wait(LONG)
        assert clock() - began >= 0.005

        async def is_quiet() -> bool:
            return elsewhere.take_ring()

        await until(is_quiet)


async def test_a_wait_without_a_ring_ends_at_its_limit(doorbell: Doorbell) -> None:
    """The limit is the caller's poll floor: a lost notification costs no more than that."""
    clock = asyncio.get_running_loop().time
    with doorbell.listen("jobs") as listener:
        start = clock()
        assert not await listener.wait(BRIEFLY)
        assert BRIEFLY * 0.9 <= clock() - start < 2


async def test_a_listener_that_left_is_not_woken(doorbell: Doorbell) -> None:
    """After its block a listener is nobody's."""
    with doorbell.listen("jobs") as listener:
        pass
    doorbell.ring("jobs")
    assert not await listener.wait(0.001)


async def test_a_topic_that_is_not_listened_to_is_a_mistake(database: Database) -> None:
    """A doorbell for some topics says so instead of never waking."""
    async with Doorbell(database, ["jobs"]) as doorbell:
        with pytest.raises(ValueError, match="jobs"):
            doorbell.listen("logs")


async def test_a_terminated_connection_comes_back_and_wakes_the_listeners(
    doorbell: Doorbell, database: Database, connection: Connection
) -> None:
    """Whatever was rung in between may have been missed, so everybody looks again."""
    with doorbell.listen("jobs") as listener:
        (pid,) = [row[0] for row in await connection.fetch(LISTENING)]
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        assert await listener.wait(LONG)
        assert doorbell.is_up
        async with Doorbell(database) as other:
            other.ring("jobs")
            assert await listener.wait(LONG)


async def test_a_ring_while_the_connection_is_gone_is_sent_when_it_is_back(
    doorbell: Doorbell, elsewhere: Doorbell, connection: Connection
) -> None:
    """A doorbell owes what it was told to ring."""
    with elsewhere.listen("jobs") as listener:
        first, _second = [row[0] for row in await connection.fetch(LISTENING)]
        await connection.execute("SELECT pg_terminate_backend($1)", first)
        doorbell.ring("jobs")
        assert await listener.wait(LONG)


async def test_a_line_that_fell_silent_is_noticed_and_replaced(
    line: SilentLine, elsewhere: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hung up, so only a probe without an answer tells; then everything is as before."""
    monkeypatch.setattr("reactorcide.eventstore.doorbell._PROBE_SECONDS", 0.05)
    monkeypatch.setattr("reactorcide.eventstore.doorbell._ANSWER_SECONDS", 0.2)
    async with Doorbell(Database(line.uri)) as doorbell:
        with doorbell.listen("jobs") as listener:
            line.fall_silent()
            assert await listener.wait(LONG)
            elsewhere.ring("jobs")
            assert await listener.wait(LONG)


def test_a_silent_line_is_noticed_within_15_seconds() -> None:
    """The longest wait for a probe, and for its answer."""
    assert HALF_OPEN_SECONDS < 15


async def test_losses_are_counted_and_logged(doorbell: Doorbell, connection: Connection) -> None:
    """Once each; the log says when it is lost and when it listens again."""
    with capture_logs() as logs, doorbell.listen("jobs") as listener:
        for _ in range(2):
            (pid,) = [row[0] for row in await connection.fetch(LISTENING)]
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
            assert await listener.wait(LONG)
    assert doorbell.losses == 2
    assert [line["event"] for line in logs] == ["doorbell_lost", "doorbell_listens_again"] * 2


async def test_leaving_leaves_no_task_and_no_connection(
    database: Database, connection: Connection
) -> None:
    """After the block nothing runs and nobody is connected."""
    before = asyncio.all_tasks()
    async with Doorbell(database) as doorbell:
        with doorbell.listen(*TOPICS):
            doorbell.ring("jobs")
    assert asyncio.all_tasks() == before

    async def nobody_is_left() -> bool:
        return await connection.fetch(LISTENING) == []

    await until(nobody_is_left)


async def test_leaving_sends_what_was_rung_last(database: Database, doorbell: Doorbell) -> None:
    """A program's last ring goes out before it ends."""
    with doorbell.listen("jobs") as listener:
        async with Doorbell(database) as short_lived:
            short_lived.ring("jobs")
        assert await listener.wait(LONG)


async def test_a_database_that_is_not_there_is_said_at_once() -> None:
    """Entering fails like any other connection."""
    with pytest.raises(DatabaseUnavailable):
        async with Doorbell(Database("postgresql://nobody@127.0.0.1:1/nowhere")):
            pass
