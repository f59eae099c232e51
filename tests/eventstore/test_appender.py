"""Calls that arrive together are written together, and each is answered for itself."""

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database, DatabaseUnavailable, StatementRefused
from reactorcide.eventstore.ids import new_id, new_ids
from reactorcide.eventstore.inline_rows import FreshRows
from reactorcide.eventstore.record import (
    SYSTEM,
    Appended,
    AppendToNew,
    Conflict,
    Context,
    Row,
)
from reactorcide.eventstore.store import read_stream, read_streams
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.appending import APPENDERS, Rows, a_unit
from reactorcide.tests.eventstore.facts import a_fact
from reactorcide.tests.eventstore.waiting import until


async def test_a_lone_call_is_written_at_once(appender: Appender[str], rows: Rows) -> None:
    """One call, one statement."""
    stream_id = new_id()
    (result,) = await appender.append([a_unit(stream_id)])
    assert isinstance(result, Appended)
    assert rows.batches == [1]


async def test_calls_in_the_meantime_share_a_statement(appender: Appender[str], rows: Rows) -> None:
    """What arrives together, or while a statement is in flight, goes together."""
    results = await asyncio.gather(*[appender.append([a_unit(new_id())]) for _ in range(50)])
    assert all(isinstance(result, Appended) for (result,) in results)
    assert sum(rows.batches) == 50
    assert len(rows.batches) <= 3


async def test_results_go_to_their_callers_in_their_order(appender: Appender[str]) -> None:
    """Calls of several units, some with conflicts, are answered each with its own."""
    calls = [[new_id() for _ in range(count)] for count in (1, 3, 2)]
    stale = calls[1][1]
    await appender.append([a_unit(stale)])
    answers = await asyncio.gather(
        *[appender.append([a_unit(stream_id) for stream_id in call]) for call in calls]
    )
    assert [[result.stream_id for result in answer] for answer in answers] == calls
    conflicts = [r for answer in answers for r in answer if isinstance(r, Conflict)]
    assert conflicts == [Conflict(stale, 0)]


async def test_a_stream_waits_for_the_next_statement(
    appender: Appender[str], rows: Rows, connection: Connection
) -> None:
    """Calls for one stream are written one after the other, in the order they came."""
    stream_id = new_id()
    answers = await asyncio.gather(
        *[appender.append([a_unit(stream_id, version)]) for version in range(5)]
    )
    assert all(isinstance(result, Appended) for (result,) in answers)
    assert rows.batches == [1] * 5
    assert len(await read_stream(connection, stream_id)) == 5


async def test_a_stream_twice_in_a_call_is_a_mistake(appender: Appender[str]) -> None:
    """It could be neither one statement nor two."""
    stream_id = new_id()
    with pytest.raises(ValueError, match="only once"):
        await appender.append([a_unit(stream_id), a_unit(stream_id, 1)])


async def test_nothing_to_append_is_answered_with_nothing(
    appender: Appender[str], rows: Rows
) -> None:
    """No statement for no units."""
    assert await appender.append([]) == []
    assert rows.batches == []


async def test_leaving_writes_what_was_handed_in(
    database: Database, rows: Rows, connection: Connection
) -> None:
    """The calls are answered, then the connections go, and nothing runs on."""
    before = asyncio.all_tasks()
    streams = [new_id() for _ in range(20)]
    async with Appender(database, rows) as appender:
        calls = [asyncio.create_task(appender.append([a_unit(s)])) for s in streams]
        await asyncio.sleep(0)
    answers = [call.result() for call in calls]
    assert all(isinstance(result, Appended) for (result,) in answers)
    assert asyncio.all_tasks() == before

    async def nobody_is_left() -> bool:
        return await connection.fetch(APPENDERS) == []

    await until(nobody_is_left)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await appender.append([a_unit(new_id())])


async def test_a_call_larger_than_a_batch_stays_whole(appender: Appender[str], rows: Rows) -> None:
    """One call is one statement, however large."""
    results = await asyncio.gather(
        appender.append([a_unit(new_id())]),
        appender.append([a_unit(new_id()) for _ in range(1500)]),
        appender.append([a_unit(new_id())]),
    )
    assert [len(answer) for answer in results] == [1, 1500, 1]
    assert 1500 in rows.batches


class RowsToNew:
    """Inline rows of new streams that do nothing but remember how many each statement had."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, rows: Sequence[Row]) -> FreshRows:
        """Write nothing."""
        self.batches.append(len(rows))
        return FreshRows("", ())


def a_beginning(stream_ids: Sequence[UUID], context: Context = SYSTEM) -> AppendToNew:
    """Return the first event of each of these streams."""
    fact = a_fact()
    data = [f'{{"nth": {nth}}}' for nth in range(len(stream_ids))]
    rows: list[Row] = [()] * len(stream_ids)
    contexts = [context] * len(stream_ids)
    return AppendToNew("job", fact.type, fact.schema_version, contexts, [*stream_ids], data, rows)


async def test_new_streams_of_several_calls_share_a_statement(
    appender: Appender[str], connection: Connection
) -> None:
    """Each with its own data, an id of its own, and who caused it by which request."""
    rows = RowsToNew()
    calls = [new_ids(count) for count in (1, 3, 2, 1)]
    others = Context(actor_type="user", actor_id=new_id(), ip="10.0.0.7", request_id="r-1")
    contexts = [SYSTEM, SYSTEM, others, SYSTEM]
    recorded = await asyncio.gather(
        *[
            appender.append_to_new(a_beginning(call, context), rows)
            for call, context in zip(calls, contexts, strict=True)
        ]
    )
    assert rows.batches == [7]
    found = await read_streams(connection, [one for call in calls for one in call])
    events = [found[stream_id] for call in calls for stream_id in call]
    assert [len(stream) for stream in events] == [1] * 7
    assert [json.loads(event.data)["nth"] for (event,) in events] == [0, 0, 1, 2, 0, 1, 0]
    assert len({event.event_id for (event,) in events}) == 7
    causes = [(event.actor_id, event.ip, event.request_id) for (event,) in events]
    nobody = (None, None, None)
    assert causes == [nobody] * 4 + [(others.actor_id, "10.0.0.7", "r-1")] * 2 + [nobody]
    assert [found[call[0]][0].recorded_at for call in calls] == recorded


async def test_a_stream_that_is_there_refuses_its_call_alone(
    appender: Appender[str], connection: Connection
) -> None:
    """Nothing of that call is written, and all of its neighbours are."""
    rows = RowsToNew()
    there = new_id()
    await appender.append_to_new(a_beginning([there]), rows)
    calls = [[new_id()], [new_id(), there, new_id()], [new_id()]]
    answers = await asyncio.gather(
        *[appender.append_to_new(a_beginning(call), rows) for call in calls],
        return_exceptions=True,
    )
    refused = answers[1]
    assert isinstance(refused, StatementRefused)
    assert refused.constraint == "events_stream_version"
    found = await read_streams(connection, [one for call in calls for one in call])
    assert found.keys() == {*calls[0], there, *calls[2]}
    assert len(found[there]) == 1


async def test_appends_and_beginnings_take_turns(
    appender: Appender[str], rows: Rows, connection: Connection
) -> None:
    """Whatever came first goes first; neither kind waits for the other's end."""
    streams = new_ids(6)
    await asyncio.gather(
        *[
            appender.append_to_new(a_beginning([one]), RowsToNew())
            if nth % 2
            else appender.append([a_unit(one)])
            for nth, one in enumerate(streams)
        ]
    )
    assert (await read_streams(connection, streams)).keys() == set(streams)
    assert sum(rows.batches) == 3


async def test_new_streams_one_after_the_other_are_as_different(
    appender: Appender[str], connection: Connection
) -> None:
    """What was made once for streams that begin alike is not taken for others."""
    rows = RowsToNew()
    others = Context(actor_type="user", actor_id=new_id(), ip="10.0.0.7", request_id="r-1")
    for context in (SYSTEM, others, SYSTEM):
        append = a_beginning([new_id()], context)
        recorded_at = await appender.append_to_new(append, rows)
        (event,) = await read_stream(connection, append.stream_ids[0])
        assert (event.version, event.type, event.data) == (1, append.type, '{"nth": 0}')
        assert (event.actor_id, event.ip, event.request_id, event.recorded_at) == (
            *(context.actor_id, context.ip, context.request_id),
            recorded_at,
        )
    assert set(rows.batches) == {1}
