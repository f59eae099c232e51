"""The thread that keeps leases beats in time, says what came of it, and ends with its block."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.tests.conftest import Connection
from reactorcide.tests.worker.handler_bench import caught_lines
from reactorcide.tests.worker.jobs_at_work import (
    PATIENCE_SECONDS,
    SEALER,
    Desk,
    eventually,
    settings_for,
)
from reactorcide.worker.beats import Beat, Beats
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.direct_beater import open_beater
from reactorcide.worker.supervisor.clock import boot_seconds

LEASE: Final = "SELECT lease_until FROM jobs WHERE job_id = $1"


def beating_threads() -> list[threading.Thread]:
    """Return the threads that beat."""
    return [one for one in threading.enumerate() if one.name == "beats"]


@pytest.fixture
async def coordinator(database: Database, tmp_path: Path) -> AsyncIterator[DirectCoordinator]:
    """Claims, and opens beaters."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as opened:
        yield opened


class Told:
    """Takes what is told, and waits for it."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self._beats: asyncio.Queue[Beat] = asyncio.Queue()

    def take(self, beat: Beat) -> None:
        """Be told."""
        self.threads.add(threading.get_ident())
        self._beats.put_nowait(beat)

    async def next(self, fits: Callable[[Beat], bool] = lambda _: True) -> Beat:
        """Wait for the next beat of some kind."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not fits(beat := await self._beats.get()):
                pass
        return beat

    @property
    def count(self) -> int:
        """How many nobody has waited for."""
        return self._beats.qsize()


def is_answered(beat: Beat) -> bool:
    """Whether there was an answer."""
    return beat.held is not None


def is_unanswered(beat: Beat) -> bool:
    """Whether there was none."""
    return beat.held is None


@asynccontextmanager
async def beating(
    coordinator: DirectCoordinator,
    seconds: float,
    keys: Callable[[], Sequence[AttemptKey]] = lambda: (),
) -> AsyncIterator[tuple[Beats, Told]]:
    """Beat during the block."""
    told = Told()
    with Beats(coordinator.open_beater, seconds, keys, told.take) as beats:
        yield beats, told


async def test_it_beats_at_its_interval(coordinator: DirectCoordinator) -> None:
    """At once, and then no more often than four fifths of it; told in the loop that entered."""
    async with beating(coordinator, 0.1) as (_, told):
        found = [await told.next() for _ in range(6)]
        assert told.threads == {threading.get_ident()}
    began = [beat.began for beat in found]
    gaps = [later - earlier for earlier, later in pairwise(began)]
    assert min(gaps) >= 0.08
    assert began[-1] - began[0] < PATIENCE_SECONDS / 2


async def test_a_beat_renews_what_is_held_when_it_begins(
    desk: Desk, coordinator: DirectCoordinator
) -> None:
    """It asks anew each time; what is not held is not in the answer."""
    job_id = await desk.submit()
    keys: list[AttemptKey] = []
    async with beating(coordinator, 0.3, lambda: tuple(keys)) as (_, told):
        await told.next(is_answered)
        (claimed,) = (await coordinator.claim(1)).attempts
        before = await desk.pool.fetchval(LEASE, job_id)
        stale = AttemptKey(job_id, 7)
        keys += [claimed.key, stale]
        beat = await told.next(lambda one: len(one.keys) == 2)
        assert beat.held == {claimed.key: None}
        assert await desk.pool.fetchval(LEASE, job_id) > before


async def test_the_answer_says_who_should_stop(desk: Desk, coordinator: DirectCoordinator) -> None:
    """With the grace that was asked for."""
    job_id = await desk.submit()
    (claimed,) = (await coordinator.claim(1)).attempts
    await coordinator.start(claimed.key)
    async with beating(coordinator, 600, lambda: (claimed.key,)) as (beats, told):
        assert (await told.next()).held == {claimed.key: None}
        await desk.cancel(job_id, grace_seconds=7)
        beats.beat_now()
        assert (await told.next()).held == {claimed.key: 7}


async def test_it_beats_now_when_asked(coordinator: DirectCoordinator) -> None:
    """However long the interval is; asked many times at once it is asked a few times."""
    async with beating(coordinator, 600) as (beats, told):
        first = await told.next()
        beats.beat_now()
        second = await told.next()
        assert second.began > first.began
        for _ in range(50):
            beats.beat_now()
        await told.next()
        assert told.count < 10


async def test_no_answer_is_told_as_such(
    database: Database, coordinator: DirectCoordinator
) -> None:
    """In time, and again, until there is one."""
    async with beating(coordinator, 0.2) as (_, told):
        await told.next(is_answered)
        locking = await database.connect()
        async with locking.transaction():
            await locking.execute("LOCK TABLE worker_beats IN EXCLUSIVE MODE")
            beat = await told.next(is_unanswered)
            assert beat.detail
            assert (await told.next()).held is None
        await locking.close()
        assert (await told.next(is_answered)).held == {}


async def test_a_broken_connection_is_opened_again(
    connection: Connection, coordinator: DirectCoordinator
) -> None:
    """By the next beat."""
    async with beating(coordinator, 0.1) as (_, told):
        await told.next(is_answered)
        cut = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%worker_beats%'"
            " AND pid <> pg_backend_pid()"
        )
        assert len(cut) == 1
        now = boot_seconds()
        for _ in range(2):
            await told.next(lambda beat: is_answered(beat) and beat.began > now)


async def test_a_server_that_is_not_there_is_no_answer() -> None:
    """The thread goes on trying, more often than it would beat."""
    away = Database("postgresql://nobody@127.0.0.1:1/nothing")
    told = Told()

    with Beats(
        lambda: open_beater(away, UUID(int=1), 15, lambda *_: None),
        60,
        lambda: (),
        told.take,
    ):
        for _ in range(2):
            beat = await told.next()
            assert beat.held is None
            assert beat.detail


async def test_a_statement_that_is_refused_does_not_end_the_thread(
    connection: Connection, coordinator: DirectCoordinator
) -> None:
    """It is no answer; a worker that was told nothing would go on without leases."""
    with caught_lines() as lines:
        async with beating(coordinator, 0.1) as (_, told):
            await told.next(is_answered)
            await connection.execute(
                "ALTER TABLE worker_beats ADD CONSTRAINT closed CHECK (false) NOT VALID"
            )
            await told.next(lambda beat: "closed" in beat.detail)
            await connection.execute("ALTER TABLE worker_beats DROP CONSTRAINT closed")
            await told.next(is_answered)
    assert "beat_broken" in {line["event"] for line in lines}


async def test_leaving_ends_the_thread(coordinator: DirectCoordinator) -> None:
    """At once, however long it would have slept; what is asked of it later does nothing."""
    assert not beating_threads()
    async with beating(coordinator, 600) as (beats, told):
        await told.next()
        assert len(beating_threads()) == 1
        leaving = monotonic()
    assert monotonic() - leaving < 30
    assert not beating_threads()
    beats.beat_now()


async def test_leaving_before_the_first_answer_ends_the_thread(
    connection: Connection, coordinator: DirectCoordinator
) -> None:
    """Its connection is closed as well."""
    async with beating(coordinator, 0.5):
        assert len(beating_threads()) == 1
    assert not beating_threads()
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%INSERT INTO worker_beats%' AND pid <> pg_backend_pid()"
    )

    async def is_closed() -> bool:
        return not await connection.fetchval(count)

    await eventually(is_closed)


async def test_a_held_loop_keeps_no_beat_back(desk: Desk, coordinator: DirectCoordinator) -> None:
    """What they came to is told when the loop turns again."""
    job_id = await desk.submit()
    (claimed,) = (await coordinator.claim(1)).attempts
    asked = threading.Semaphore(0)

    def keys() -> tuple[AttemptKey, ...]:
        asked.release()
        return (claimed.key,)

    async with beating(coordinator, 0.3, keys) as (_, told):
        before = await desk.pool.fetchval(LEASE, job_id)
        for _ in range(4):
            assert asked.acquire(timeout=PATIENCE_SECONDS)  # the loop stands still
        await asyncio.sleep(0)
        assert told.count >= 2
        assert await desk.pool.fetchval(LEASE, job_id) > before
