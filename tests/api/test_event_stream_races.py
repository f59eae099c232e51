"""Readers over the API while writers race: nothing missed, nothing twice, nothing turned around."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import httpx2
import pytest

from reactorcide.api.events import watcher
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.eventstore.store import read_all
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.streaming import streamed
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.test_no_skip import (
    COMMANDS,
    NO_FAULTS,
    WRITERS,
    Course,
    connected,
    faults,
    trust_positions,
    write,
)
from reactorcide.tests.eventstore.waiting import until

KILL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (query LIKE '%pg_locks%' OR query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%')"""


@pytest.fixture
async def busy(settings: ApiSettings) -> AsyncIterator[Services]:
    """An API whose streams often say how far they are."""
    async with open_services(replace(settings, heartbeat_seconds=0.05)) as services:
        yield services


class Reader:
    """An auditor who reads all there is, and comes back after so many events, or when it must."""

    def __init__(self, client: Client, patience: int) -> None:
        self.ids: list[int] = []
        self.resumed = 0
        self._client = client
        self._patience = patience

    async def read(self, course: Course, end: asyncio.Future[int]) -> None:
        """Read until the course is over and all of it has come."""
        position = 0
        while not (course.over.is_set() and position >= await end):
            self.resumed += 1
            with suppress(httpx2.RequestError, AssertionError):  # broken, or 503: come back
                position = await self._read_some(course, end, position)

    async def _read_some(self, course: Course, end: asyncio.Future[int], position: int) -> int:
        taken = itertools.count(1)
        async with streamed(self._client, after=position) as stream:
            async for event in stream.events:
                if event.id is not None:
                    self.ids.append(int(event.id))
                    position = int(event.id)
                    if next(taken) == self._patience:
                        break
                elif event.type == "heartbeat":
                    position = event.data["position"]
                    if course.over.is_set() and position >= await end:
                        break
        return position


async def raced(services: Services, database: Database) -> list[Reader]:
    """Let three readers follow racing writers; writers' backends and ours are killed."""
    # As those do who append.
    course = Course(database, on_commit=lambda: services.doorbell.ring("events"))
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    token, _ = await token_for(services, "audrey", "auditor")
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        serving(services) as url,
        Client(base_url=url, headers=headers, timeout=20) as client,
        connected(database) as connection,
    ):
        readers = [Reader(client, patience) for patience in (10_000, 40, 7)]
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read(course, end))
            async with asyncio.TaskGroup() as writers:
                for number in range(WRITERS):
                    writers.create_task(write(course, number))
                writers.create_task(kill(course))
            end.set_result(await connection.fetchval("SELECT max(position) FROM events"))
            course.over.set()
    return readers


async def test_readers_of_racing_writers_miss_nothing(
    busy: Services, database: Database, connection: Connection
) -> None:
    """Three of them, of whom two come back again and again."""
    readers = await raced(busy, database)
    log = await read_all(connection, 0, 2**62, 10_000)
    assert len(log) > WRITERS * COMMANDS
    by_position = {event.position: event for event in log}
    for reader in readers:
        seen: list[RecordedEvent] = [by_position[position] for position in reader.ids]
        assert faults(seen, log) == NO_FAULTS
        assert reader.ids == sorted(reader.ids)
    assert [reader.resumed > 5 for reader in readers][1:] == [True, True]


async def test_a_watcher_that_trusts_positions_is_caught(
    busy: Services, database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: the same course shows that its readers miss events."""

    async def trusting(reader: Connection, after: int, _patience_seconds: float) -> int:
        return await trust_positions(reader, after)

    monkeypatch.setattr(watcher, "safe_position", trusting)
    readers = await raced(busy, database)
    log = await read_all(connection, 0, 2**62, 10_000)
    seen = set(readers[0].ids)
    assert any(event.position not in seen for event in log)


async def kill(course: Course) -> None:
    """Kill the backends that read for the streams, and the doorbell's."""
    killed = 0

    async def are_dead() -> bool:
        nonlocal killed
        killed += await executioner.fetchval(KILL)
        return bool(killed >= 2)

    async with connected(course.database) as executioner:
        await until(are_dead)
