"""Counts of queues: exact at any moment, whoever adds the notes up, and whenever one dies at it."""

import asyncio
from typing import Final

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.domain.job import ClaimJob
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.projections import job_rows, queues, upkeep
from reactorcide.projections.queues import Queue
from reactorcide.tests.projections.journal import WORKER, Journal, now

_NOTES: Final = "SELECT count(*) FROM queue_changes"
_ADDED_UP: Final = "SELECT queue_name, status, jobs FROM queue_counts ORDER BY 1, 2"


async def _counted(connection: Connection) -> dict[str, Queue]:
    page = await queues.list_page(connection, "", 200, 0)
    assert page.total == len(page.queues)
    return {queue.queue_name: queue for queue in page.queues}


async def test_a_count_is_the_same_before_and_after_adding_up(connection: Connection) -> None:
    """The notes are gone, what they said is not; counts of none go too."""
    journal = Journal(connection)
    for _ in range(3):
        await journal.submit(queue_name="a")
    await journal.claim(await journal.submit(queue_name="a"))
    await journal.tell(await journal.submit(queue_name="b"), ClaimJob(WORKER, 15, now()))
    await journal.finish(await journal.submit(queue_name="c"))
    before = await _counted(connection)
    assert before == {"a": Queue("a", 0, 3, 0, 1), "b": Queue("b", 0, 0, 1, 0)}
    notes = await connection.fetchval(_NOTES)
    assert await upkeep.add_up(connection) == notes > 0
    assert await connection.fetchval(_NOTES) == 0
    assert await _counted(connection) == before
    await queues.forget_empty(connection)
    assert [tuple(row) for row in await connection.fetch(_ADDED_UP)] == [
        ("a", "queued", 3),
        ("a", "running", 1),
        ("b", "claimed", 1),
    ]
    assert await upkeep.add_up(connection) == 0


async def test_notes_are_added_up_in_batches(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a transaction of its own, and a pass has an end, however fast notes come."""
    monkeypatch.setattr(upkeep, "_NOTES", 2)
    monkeypatch.setattr(upkeep, "_NOTES_BATCHES", 3)
    journal = Journal(connection)
    for _ in range(9):
        await journal.submit()
    assert await upkeep.add_up(connection) == 6
    assert await upkeep.add_up(connection) == 3
    assert await _counted(connection) == {"default": Queue("default", 0, 9, 0, 0)}


async def test_several_that_add_up_at_once_count_each_note_once(
    database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others append, and whoever looks sees a count that is right."""
    monkeypatch.setattr(upkeep, "_NOTES", 3)
    others = [await database.connect() for _ in range(4)]
    is_over = asyncio.Event()

    async def add(other: Connection) -> int:
        taken = 0
        while not is_over.is_set():
            taken += await upkeep.add_up(other)
        return taken

    async def look(other: Connection) -> None:
        least = 0
        while not is_over.is_set():
            counts = await queues.count_largest(other, 9)
            queued = sum(by_status["queued"] for by_status in counts.values())
            assert least <= queued <= 60
            least = queued

    adding = [asyncio.create_task(add(other)) for other in others[:3]]
    looking = asyncio.create_task(look(others[3]))
    journal = Journal(connection)
    try:
        for nth in range(60):
            await journal.submit(queue_name=f"q{nth % 3}")
    finally:
        is_over.set()
        taken = await asyncio.gather(*adding)
        await looking
        await asyncio.gather(*[other.close() for other in others])
    assert sum(taken) + await upkeep.add_up(connection) == 60
    assert await _counted(connection) == {f"q{n}": Queue(f"q{n}", 0, 20, 0, 0) for n in range(3)}
    assert sum(row["jobs"] for row in await connection.fetch(_ADDED_UP)) == 60


async def test_who_dies_at_adding_up_takes_nothing_along(
    database: Database, connection: Connection
) -> None:
    """Meanwhile there is nothing to do for others; afterwards they do it all."""
    journal = Journal(connection)
    for _ in range(5):
        await journal.submit()
    other = await database.connect()
    await other.execute("BEGIN")
    assert await queues.add_up(other, 100) == 5
    assert await upkeep.add_up(connection) == 0
    expected = {"default": Queue("default", 0, 5, 0, 0)}
    assert await _counted(connection) == expected
    await connection.execute("SELECT pg_terminate_backend($1)", other.get_server_pid())
    async with asyncio.timeout(10):
        while not await upkeep.add_up(connection):
            pass  # until the server has put everything back
    other.terminate()
    assert await _counted(connection) == expected
    assert await connection.fetchval(_NOTES) == 0


async def test_a_pass_leaves_no_notes(database: Database, connection: Connection) -> None:
    """A process at work keeps the table of notes small by itself."""
    journal = Journal(connection)
    pool = await database.create_pool(1, 2)
    async with (
        Doorbell(database) as doorbell,
        Appender(database, job_rows.rows, 1) as appender,
        upkeep.Upkeep(pool, appender, doorbell),
        asyncio.timeout(10),
    ):
        await journal.submit()
        while await connection.fetchval(_NOTES):
            pass  # asks again
    await pool.close()
    assert await _counted(connection) == {"default": Queue("default", 0, 1, 0, 0)}


async def test_the_largest_queues_are_told_and_the_rest_as_one(connection: Connection) -> None:
    """By all their jobs that have not ended; a status without jobs is not told."""
    journal = Journal(connection)
    for queue_name, number in (("a", 1), ("b", 3), ("c", 2), ("d", 1)):
        for _ in range(number):
            await journal.submit(queue_name=queue_name)
    await journal.claim(await journal.submit(queue_name="d"))
    await journal.claim(await journal.submit(queue_name="a"))
    assert await queues.count_largest(connection, 2) == {
        "b": {"queued": 3},
        "a": {"queued": 1, "running": 1},
        None: {"queued": 3, "running": 1},
    }
    assert set(await queues.count_largest(connection, 9)) == {"a", "b", "c", "d"}
