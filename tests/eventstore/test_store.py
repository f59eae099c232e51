"""What an append promises, and that reading gives back what was appended."""

from uuid import UUID

import asyncpg
import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import (
    SYSTEM,
    Append,
    Appended,
    Conflict,
    Context,
    NewEvent,
)
from reactorcide.eventstore.store import append, read_all, read_stream, read_streams
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import a_fact, an_append

EVERYTHING = 2**62


async def versions_of(connection: Connection, stream_id: UUID) -> list[int]:
    """Return the versions that a stream holds, in the order of their positions."""
    events = await read_stream(connection, stream_id)
    return [event.version for event in sorted(events, key=lambda event: event.position)]


async def test_what_was_appended_is_read_back_field_by_field(connection: Connection) -> None:
    """Envelope, data and context come back as they went in."""
    stream_id, event_id = new_id(), new_id()
    context = Context(
        actor_type="user",
        actor_id=new_id(),
        token_id=new_id(),
        ip="2001:db8::1",
        user_agent="curl/8",
        request_id="req-1",
        correlation_id=new_id(),
        causation_id=new_id(),
    )
    new = NewEvent(event_id, "job.queued", 3, '{"a": [1, "ü"]}')
    (appended,) = await append(connection, [Append("token", stream_id, 0, (new,), context)])
    assert isinstance(appended, Appended)
    (event,) = await read_stream(connection, stream_id)
    assert event == (
        appended.position,
        event_id,
        "token",
        stream_id,
        1,
        "job.queued",
        3,
        '{"a": [1, "ü"]}',
        "user",
        context.actor_id,
        context.token_id,
        "2001:db8::1",
        "curl/8",
        "req-1",
        context.correlation_id,
        context.causation_id,
        appended.recorded_at,
    )


async def test_an_append_answers_with_the_new_version_and_the_first_position(
    connection: Connection,
) -> None:
    """The version is that of the last event, the position that of the first."""
    stream_id = new_id()
    (appended,) = await append(connection, [an_append(stream_id, 0, 3)])
    events = await read_stream(connection, stream_id)
    assert appended == Appended(stream_id, 3, events[0].position, events[0].recorded_at)
    assert [event.version for event in events] == [1, 2, 3]
    assert [event.data for event in events] == ['{"n": 1}', '{"n": 2}', '{"n": 3}']


async def test_appending_nothing_answers_nothing(connection: Connection) -> None:
    """No streams, no results."""
    assert await append(connection, []) == []


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("expected_version", [0, 1, 3, 4, 9])
async def test_a_version_too_low_or_too_high_is_a_conflict(
    connection: Connection, expected_version: int, count: int
) -> None:
    """A stream at version 2 takes only what expects 2, and a conflict writes nothing."""
    stream_id = new_id()
    await append(connection, [an_append(stream_id, 0, 2)])
    result = await append(connection, [an_append(stream_id, expected_version, count)])
    assert result == [Conflict(stream_id, expected_version)]
    assert await versions_of(connection, stream_id) == [1, 2]


async def test_a_new_stream_that_expects_a_history_is_a_conflict(connection: Connection) -> None:
    """A stream without events is at version 0 and nothing else."""
    stream_id = new_id()
    result = await append(connection, [an_append(stream_id, 1)])
    assert result == [Conflict(stream_id, 1)]
    assert await read_stream(connection, stream_id) == []


async def test_a_conflict_does_not_touch_its_neighbours(connection: Connection) -> None:
    """Of six appends those that are right go in, whole, and the answers keep their order."""
    old, new, stale, high, taken, other = (new_id() for _ in range(6))
    await append(connection, [an_append(s, 0, 2) for s in (old, stale, high, taken)])
    results = await append(
        connection,
        [
            an_append(other, 0, 1),
            an_append(high, 3, 2),
            an_append(old, 2, 3),
            an_append(taken, 0, 2),
            an_append(new, 0, 2),
            an_append(stale, 1, 2),
        ],
    )
    assert [type(result) for result in results] == [
        Appended,
        Conflict,
        Appended,
        Conflict,
        Appended,
        Conflict,
    ]
    assert [result.stream_id for result in results] == [other, high, old, taken, new, stale]
    assert await versions_of(connection, old) == [1, 2, 3, 4, 5]
    assert await versions_of(connection, new) == [1, 2]
    assert await versions_of(connection, other) == [1]
    for untouched in (high, taken, stale):
        assert await versions_of(connection, untouched) == [1, 2]


async def test_a_stale_append_that_overlaps_only_at_its_start_writes_nothing(
    connection: Connection,
) -> None:
    """Events 2, 3, 4 for a stream at version 2: 3 and 4 would fit, and must not go in."""
    stream_id = new_id()
    await append(connection, [an_append(stream_id, 0, 2)])
    assert await append(connection, [an_append(stream_id, 1, 3)]) == [Conflict(stream_id, 1)]
    assert await versions_of(connection, stream_id) == [1, 2]


async def test_a_stream_occurs_once_in_a_call(connection: Connection) -> None:
    """Two appends to one stream in one call are a mistake of the caller, not a conflict."""
    stream_id = new_id()
    with pytest.raises(ValueError, match="only once"):
        await append(connection, [an_append(stream_id, 0), an_append(stream_id, 1)])
    assert await read_stream(connection, stream_id) == []


async def test_an_append_without_events_is_a_mistake(connection: Connection) -> None:
    """An empty append could be told neither held nor conflicting."""
    with pytest.raises(ValueError, match="at least one event"):
        await append(connection, [Append("job", new_id(), 0, (), SYSTEM)])


async def test_an_append_in_a_transaction_goes_with_it(connection: Connection) -> None:
    """After a rollback the stream is as before, and takes the same append again."""
    stream_id = new_id()
    transaction = connection.transaction()
    await transaction.start()
    await append(connection, [an_append(stream_id, 0, 2)])
    await transaction.rollback()
    assert await read_stream(connection, stream_id) == []
    (again,) = await append(connection, [an_append(stream_id, 0, 2)])
    assert isinstance(again, Appended)


async def test_positions_ascend_within_a_stream_and_with_the_stream_ids(
    connection: Connection,
) -> None:
    """In one call the first events are taken in the order of the ids, whatever the caller's."""
    streams = [new_id() for _ in range(30)]
    results = await append(connection, [an_append(s, 0, 3) for s in reversed(streams)])
    positions = {r.stream_id: r.position for r in results if isinstance(r, Appended)}
    assert sorted(streams, key=positions.__getitem__) == streams
    for stream_id in streams:
        assert await versions_of(connection, stream_id) == [1, 2, 3]


async def test_inline_rows_are_there_exactly_when_the_events_are(connection: Connection) -> None:
    """A projection's rows of an append that conflicts are not written."""
    await connection.execute("CREATE TABLE shown (stream_id uuid PRIMARY KEY, note text)")
    rows = """, shown AS (
    INSERT INTO shown SELECT s, n FROM unnest($17::uuid[], $18::text[]) AS i (s, n)
    WHERE s = ANY (ARRAY(SELECT stream_id FROM first)))"""
    held, stale = new_id(), new_id()
    await append(connection, [an_append(stale, 0)])
    for count in (1, 2):
        await connection.execute("DELETE FROM shown")
        held = new_id()
        await append(
            connection,
            [an_append(held, 0, count), an_append(stale, 0, count)],
            InlineRows(rows, ([held, stale], ["a", "b"])),
        )
        shown = await connection.fetch("SELECT stream_id, note FROM shown")
        assert [tuple(row) for row in shown] == [(held, "a")]


async def test_a_row_that_must_be_unique_refuses_the_whole_statement(
    connection: Connection,
) -> None:
    """A violation in a projection's table is no conflict of a stream: it is raised."""
    await connection.execute("CREATE TABLE shown (name text CONSTRAINT shown_name UNIQUE)")
    rows = InlineRows(", shown AS (INSERT INTO shown SELECT $17::text FROM first)", ("a",))
    await append(connection, [an_append(new_id(), 0)], rows)
    refused = new_id()
    with pytest.raises(asyncpg.UniqueViolationError, match="shown_name"):
        await append(connection, [an_append(refused, 0)], rows)
    assert await read_stream(connection, refused) == []


async def test_an_append_is_dated_by_its_transaction(connection: Connection) -> None:
    """All that one transaction records says the same time: the database's, not Python's."""
    async with connection.transaction():
        now = await connection.fetchval("SELECT now()")
        (one,) = await append(connection, [an_append(new_id(), 0)])
        (other,) = await append(connection, [an_append(new_id(), 0, 2)])
    assert isinstance(one, Appended)
    assert isinstance(other, Appended)
    assert one.recorded_at == other.recorded_at == now


async def test_a_stream_is_read_from_any_version(connection: Connection) -> None:
    """`after_version` and `limit` cut a window out of a stream."""
    stream_id = new_id()
    await append(connection, [an_append(stream_id, 0, 5)])
    window = await read_stream(connection, stream_id, after_version=2, limit=2)
    assert [event.version for event in window] == [3, 4]
    assert await read_stream(connection, new_id()) == []


async def test_many_streams_are_read_at_once(connection: Connection) -> None:
    """Each known stream has its events in order; an unknown one is not there."""
    one, other = new_id(), new_id()
    await append(connection, [an_append(one, 0, 2), an_append(other, 0, 1)])
    streams = await read_streams(connection, [one, other, new_id()])
    assert {key: [e.version for e in value] for key, value in streams.items()} == {
        one: [1, 2],
        other: [1],
    }


async def test_the_whole_log_is_read_in_pages(connection: Connection) -> None:
    """Pages follow one another by position, up to the given horizon and no further."""
    for _ in range(5):
        await append(connection, [an_append(new_id(), 0, 2)])
    everything = await read_all(connection, 0, EVERYTHING, 100)
    positions = [event.position for event in everything]
    assert positions == sorted(positions)
    assert len(positions) == 10
    page = await read_all(connection, positions[2], positions[7], 3)
    assert [event.position for event in page] == positions[3:6]
    rest = await read_all(connection, positions[5], positions[7], 100)
    assert [event.position for event in rest] == positions[6:8]


async def test_data_that_postgresql_refuses_writes_nothing(connection: Connection) -> None:
    """One bad neighbour fails the statement; nobody's events are half-written."""
    good, bad = new_id(), new_id()
    poison = Append("job", bad, 0, (a_fact(), a_fact('{"a": "\\u0000"}')), SYSTEM)
    with pytest.raises(asyncpg.UntranslatableCharacterError):
        await append(connection, [an_append(good, 0), poison])
    assert await read_streams(connection, [good, bad]) == {}
