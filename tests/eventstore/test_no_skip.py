"""Readers that follow the log while it is written miss nothing and see nothing twice.

The same course of events — slow commits, rollbacks, killed backends, conflicts on shared
streams, transaction ids drawn long before the position, an unrelated open transaction — is read
by the horizon, by a planted bug that trusts positions, and, under a lock held through each commit
(the oracle), by plain positions. `make no-skip` runs it with twice the writers, for longer,
and says how long an event takes to its readers.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias
from uuid import UUID

from reactorcide.eventstore.database import Database, DatabaseUnavailable, database_errors
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append, Appended, RecordedEvent
from reactorcide.eventstore.store import append, read_all
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import a_fact

Horizon: TypeAlias = Callable[[Connection, int], Awaitable[int]]

IS_WHOLE = bool(os.environ.get("REACTORCIDE_NO_SKIP"))
WRITERS = 16 if IS_WHOLE else 8
COMMANDS = 100 if IS_WHOLE else 30
# What a busy queue does, not what a machine can: else the delay is that of waiting for a processor.
PAUSE_SECONDS = 0.2 if IS_WHOLE else 0.0
OPEN_SECONDS = 2.0 if IS_WHOLE else 0.0
DEADLINE_SECONDS = 300 if IS_WHOLE else 30
LONGEST_MEDIAN_SECONDS = 0.01
ORDERING_LOCK = 7
VERSION = "SELECT coalesce(max(version), 0) FROM events WHERE stream_id = $1"


async def trust_positions(connection: Connection, after: int) -> int:
    """Stand in for the horizon, wrongly: what is visible is all there is."""
    return await connection.fetchval("SELECT max(position) FROM events") or after


@dataclass
class Course:
    """One run: its database, its streams, and when it is over."""

    database: Database
    is_locked: bool = False
    on_commit: Callable[[], None] = lambda: None
    streams: list[UUID] = field(default_factory=lambda: [new_id() for _ in range(5)])
    over: asyncio.Event = field(default_factory=asyncio.Event)
    committed: dict[str, float] = field(default_factory=dict)
    """When the commit of each fact was answered."""
    seen: list[tuple[str, float]] = field(default_factory=list)
    """When each reader saw each fact."""

    def delays(self) -> list[float]:
        """Return, ascending, how long after its commit each fact was seen."""
        return sorted(max(at - self.committed[data], 0.0) for data, at in self.seen)


@dataclass(frozen=True)
class Fact:
    """What one command wants in the log."""

    stream_id: UUID
    data: str


async def write(course: Course, number: int) -> None:
    """Get `COMMANDS` numbered facts into the log, whatever happens on the way."""
    dice = random.Random(number)  # noqa: S311  a fixed course of events
    facts = [
        Fact(dice.choice([*course.streams, new_id()]), f'{{"by": "{number}.{command}"}}')
        for command in range(COMMANDS)
    ]
    while facts:
        async with connected(course.database) as connection:
            with suppress(DatabaseUnavailable), database_errors():
                while facts:
                    await asyncio.sleep(PAUSE_SECONDS * dice.random())
                    if await is_recorded(course, connection, dice, facts[0]):
                        facts.pop(0)


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection of the owner, who may kill backends."""
    connection = await database.connect(role=False)
    try:
        yield connection
    finally:
        connection.terminate()


async def talk_on(connection: Connection, turns: int) -> None:
    """Keep the transaction open while others have their turns, too."""
    for _ in range(turns):
        await connection.execute("SELECT")


async def is_recorded(
    course: Course, connection: Connection, dice: random.Random, fact: Fact
) -> bool:
    """Append once, with an end that the dice choose; say whether it is in the log."""
    end = dice.choices(["commit", "rollback", "kill"], [20, 3, 1])[0]
    transaction = connection.transaction()
    await transaction.start()
    if course.is_locked:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ORDERING_LOCK)
    if dice.random() < 0.2:
        await connection.execute("SELECT pg_current_xact_id()")
        await talk_on(connection, dice.choice([0, 10]))
    version = await connection.fetchval(VERSION, fact.stream_id)
    one = Append("job", fact.stream_id, version, (a_fact(fact.data),), SYSTEM)
    (result,) = await append(connection, [one])
    await talk_on(connection, dice.choice([0, 0, 3, 20]))  # a slow committer
    if end == "kill":
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    if end == "rollback":
        await transaction.rollback()
        return False
    await transaction.commit()
    course.committed[fact.data] = monotonic()
    course.on_commit()
    return isinstance(result, Appended)


async def follow(course: Course, horizon: Horizon) -> list[RecordedEvent]:
    """Read the log as it grows, until the course is over and all is read."""
    seen: list[RecordedEvent] = []
    checkpoint = 0
    async with connected(course.database) as connection:
        while True:
            was_over = course.over.is_set()
            settled = await horizon(connection, checkpoint)
            page = await read_all(connection, checkpoint, settled, 50)
            seen += page
            course.seen += [(event.data, monotonic()) for event in page]
            if page:
                checkpoint = page[-1].position
            elif was_over:
                return seen
            else:
                await asyncio.sleep(0.001)


async def run(course: Course, *horizons: Horizon) -> list[list[RecordedEvent]]:
    """Let the writers write and the readers follow; return what each reader saw."""
    async with connected(course.database) as bystander, asyncio.timeout(DEADLINE_SECONDS):
        began = monotonic()
        await bystander.execute("BEGIN")
        await bystander.execute("INSERT INTO worker_beats VALUES (gen_random_uuid(), now())")
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(follow(course, horizon)) for horizon in horizons]
            async with asyncio.TaskGroup() as writers:
                for number in range(WRITERS):
                    writers.create_task(write(course, number))
            await asyncio.sleep(max(OPEN_SECONDS - (monotonic() - began), 0))
            course.over.set()
    return [reader.result() for reader in readers]


def faults(seen: list[RecordedEvent], log: list[RecordedEvent]) -> dict[str, int]:
    """Count what a reader did wrong."""
    times = Counter(event.position for event in seen)
    last: defaultdict[UUID, int] = defaultdict(int)
    inverted = 0
    for event in seen:
        inverted += event.version <= last[event.stream_id]
        last[event.stream_id] = event.version
    return {
        "missed": sum(event.position not in times for event in log),
        "repeated": sum(count - 1 for count in times.values()),
        "inverted": inverted,
    }


NO_FAULTS = {"missed": 0, "repeated": 0, "inverted": 0}


async def test_readers_that_keep_to_the_horizon_skip_nothing(
    database: Database, connection: Connection
) -> None:
    """Three readers of all writers: nothing missed, repeated or turned around."""
    course = Course(database)
    all_seen = await run(course, safe_position, safe_position, safe_position)
    log = await read_all(connection, 0, 2**62, 10_000)
    assert len(log) == WRITERS * COMMANDS
    assert [faults(seen, log) for seen in all_seen] == [NO_FAULTS] * 3
    if IS_WHOLE:
        delays = course.delays()
        assert len(delays) == 3 * len(log)
        median = delays[len(delays) // 2]
        print(f"seen after {median * 1000:.1f} ms, the slowest after {delays[-1] * 1000:.0f} ms")  # noqa: T201  its output
        assert median < LONGEST_MEDIAN_SECONDS


async def test_a_reader_that_trusts_positions_is_caught(
    database: Database, connection: Connection
) -> None:
    """The planted bug: the very same course of events shows that it skips."""
    course = Course(database)
    bad, good = await run(course, trust_positions, safe_position)
    log = await read_all(connection, 0, 2**62, 10_000)
    assert faults(bad, log)["missed"] > 0
    assert faults(good, log) == NO_FAULTS


async def test_the_log_reads_the_same_as_under_a_lock_through_commit(database: Database) -> None:
    """Against the oracle, where positions can be trusted: the same facts in each stream."""
    plain = Course(database)
    (seen,) = await run(plain, safe_position)
    locked = Course(database, is_locked=True)
    checkpoint = max(event.position for event in seen)

    async def after_the_first_course(connection: Connection, after: int) -> int:
        return await trust_positions(connection, max(after, checkpoint))

    (oracle,) = await run(locked, after_the_first_course)
    oracle = [event for event in oracle if event.position > checkpoint]
    assert by_stream(seen, plain.streams) == by_stream(oracle, locked.streams)


def by_stream(seen: list[RecordedEvent], streams: list[UUID]) -> list[tuple[int, list[str]]]:
    """Return, per shared stream, how many versions there are and which facts (in any order)."""
    found = []
    for stream_id in streams:
        events = [event for event in seen if event.stream_id == stream_id]
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        found.append((len(events), sorted(event.data for event in events)))
    return found
