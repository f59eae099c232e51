"""Load, fold, decide, append: what a command comes to, alone and among others."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.codec import decode
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.handle import (
    Change,
    ConflictPersists,
    TransactionDoor,
    decided,
    handle,
    handle_new,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import SYSTEM, Append, AppendResult, Conflict, Context
from reactorcide.eventstore.store import read_stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.names import NAMES, Add

Names = tuple[str, ...]


def no_rows(_changes: Sequence[Change[Names]]) -> InlineRows:
    """No projection."""
    return InlineRows("", ())


@pytest.fixture
def door(connection: Connection) -> TransactionDoor[Names]:
    """A door on the test's own connection."""
    return TransactionDoor(connection, no_rows)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """A pool for reads."""
    opened = await database.create_pool(1, 4)
    yield opened
    await opened.close()


async def test_a_new_stream_needs_no_reading(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """The answer holds state, version, the new events and the database's time."""
    stream_id = new_id()
    handled = await handle_new(door, NAMES, stream_id, Add("a"), SYSTEM)
    (event,) = await read_stream(connection, stream_id)
    assert handled.state == ("a",)
    assert handled.version == 1
    assert handled.history == ()
    assert handled.recorded_at == event.recorded_at
    assert handled.events == (decode(event),)


async def test_a_command_meets_the_stream_as_it_stands(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """History is what was read before; the events are only the new ones."""
    stream_id = new_id()
    await handle_new(door, NAMES, stream_id, Add("a"), SYSTEM)
    history = await read_stream(connection, stream_id)
    handled = await handle(connection, door, NAMES, stream_id, Add("b"), SYSTEM)
    assert handled.state == ("a", "b")
    assert handled.version == 2
    assert handled.history == tuple(history)
    assert [event.reason for event in handled.events] == ["b"]


async def test_what_is_already_so_appends_nothing(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """A repeated command answers with the stream as it is."""
    stream_id = new_id()
    await handle_new(door, NAMES, stream_id, Add("a"), SYSTEM)
    handled = await handle(connection, door, NAMES, stream_id, Add("a"), SYSTEM)
    assert (handled.events, handled.recorded_at, handled.version) == ((), None, 1)
    assert len(handled.history) == 1


async def test_what_the_rules_refuse_appends_nothing(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """The rejection reaches the caller as it is."""
    stream_id = new_id()
    with pytest.raises(NotLegal):
        await handle(connection, door, NAMES, stream_id, Add("a", is_allowed=False), SYSTEM)
    assert await read_stream(connection, stream_id) == []


async def test_a_new_stream_that_exists_is_a_conflict(door: TransactionDoor[Names]) -> None:
    """An id that is taken is not silently added to."""
    stream_id = new_id()
    await handle_new(door, NAMES, stream_id, Add("a"), SYSTEM)
    with pytest.raises(ConflictPersists):
        await handle_new(door, NAMES, stream_id, Add("b"), SYSTEM)


async def test_the_context_is_recorded(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """Who and why stand beside each event."""
    stream_id, actor_id, cause = new_id(), new_id(), new_id()
    context = Context("user", actor_id, causation_id=cause, request_id="r")
    await handle_new(door, NAMES, stream_id, Add("a"), context)
    (event,) = await read_stream(connection, stream_id)
    assert (event.actor_type, event.actor_id, event.causation_id, event.request_id) == (
        "user",
        actor_id,
        cause,
        "r",
    )


async def test_a_command_in_a_transaction_goes_with_it(
    connection: Connection, door: TransactionDoor[Names]
) -> None:
    """Rolled back, it never was."""
    stream_id = new_id()
    transaction = connection.transaction()
    await transaction.start()
    await handle_new(door, NAMES, stream_id, Add("a"), SYSTEM)
    await handle(connection, door, NAMES, stream_id, Add("b"), SYSTEM)
    await transaction.rollback()
    assert await read_stream(connection, stream_id) == []


class AlwaysTooLate:
    """A door at which somebody else is always faster."""

    def __init__(self) -> None:
        self.knocks = 0

    async def append(self, units: Sequence[tuple[Append, Change[Names]]]) -> list[AppendResult]:
        """Refuse all."""
        self.knocks += 1
        return [Conflict(one.stream_id, one.expected_version) for one, _ in units]


async def test_conflicts_without_end_are_given_up(connection: Connection) -> None:
    """The number of attempts is bounded, and said."""
    late = AlwaysTooLate()
    with pytest.raises(ConflictPersists) as raised:
        await handle(connection, late, NAMES, new_id(), Add("a"), SYSTEM, attempts=3)
    assert (late.knocks, raised.value.attempts) == (3, 3)


def test_a_decision_for_a_batch_says_what_to_append() -> None:
    """State and version are those after the append; "already so" is None."""
    stream_id = new_id()
    unit = decided(NAMES, ("a",), 1, stream_id, Add("b"), SYSTEM)
    assert unit is not None
    one, change = unit
    assert (one.stream_type, one.stream_id, one.expected_version) == ("worker", stream_id, 1)
    assert (change.state, change.version) == (("a", "b"), 2)
    assert decided(NAMES, ("a",), 1, stream_id, Add("a"), SYSTEM) is None


async def test_sixteen_writers_lose_no_command_and_no_version(
    database: Database, pool: Pool
) -> None:
    """Each of 16 writers gets its names into three shared streams, each name once, no gaps."""
    streams = [new_id() for _ in range(3)]
    async with Appender(database, no_rows) as appender:

        async def write(number: int) -> None:
            for nth in range(4):
                for stream_id in streams:
                    name = Add(f"{number}.{nth}")
                    await handle(pool, appender, NAMES, stream_id, name, SYSTEM, attempts=500)

        await asyncio.gather(*[write(number) for number in range(16)])
    for stream_id in streams:
        events = await read_stream(pool, stream_id)
        assert [event.version for event in events] == list(range(1, 65))
        reasons = sorted(event.data for event in events)
        assert len(set(reasons)) == 64
        positions = [event.position for event in events]
        assert positions == sorted(positions)
