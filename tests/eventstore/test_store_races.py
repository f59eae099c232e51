"""Of appends that race for the same streams each holds whole or not at all."""

import asyncio
import random
from itertools import pairwise

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import (
    Appended,
    Conflict,
)
from reactorcide.eventstore.store import (
    append,
    read_stream,
    read_streams,
)
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import an_append
from reactorcide.tests.eventstore.waiting import until_blocked


async def test_of_two_racing_appends_one_holds(database: Database) -> None:
    """The second waits for the first one's commit, and then is a conflict."""
    stream_id = new_id()
    first, second = await database.connect(), await database.connect()
    try:
        transaction = first.transaction()
        await transaction.start()
        (held,) = await append(first, [an_append(stream_id, 0, 2)])
        racing = asyncio.create_task(append(second, [an_append(stream_id, 0, 3)]))
        await until_blocked(first, second.get_server_pid())
        await transaction.commit()
        assert isinstance(held, Appended)
        assert await racing == [Conflict(stream_id, 0)]
        assert [event.version for event in await read_stream(first, stream_id)] == [1, 2]
    finally:
        await first.close()
        await second.close()


async def test_a_racing_append_goes_in_when_the_first_one_rolls_back(database: Database) -> None:
    """The second waits for the first one's end, and then holds, whole."""
    stream_id = new_id()
    first, second = await database.connect(), await database.connect()
    try:
        transaction = first.transaction()
        await transaction.start()
        await append(first, [an_append(stream_id, 0, 2)])
        racing = asyncio.create_task(append(second, [an_append(stream_id, 0, 3)]))
        await until_blocked(first, second.get_server_pid())
        await transaction.rollback()
        (held,) = await racing
        assert isinstance(held, Appended)
        assert [event.version for event in await read_stream(first, stream_id)] == [1, 2, 3]
    finally:
        await first.close()
        await second.close()


async def test_overlapping_batches_never_deadlock(database: Database) -> None:
    """Eight writers append to the same streams in orders of their own: no deadlock, no gap."""
    streams = [new_id() for _ in range(12)]
    dice = random.Random(7)  # noqa: S311  a fixed course of events
    writers = [await database.connect_writer() for _ in range(8)]

    async def write(writer: Connection) -> int:
        held = 0
        versions = dict.fromkeys(streams, 0)
        for _ in range(25):
            chosen = dice.sample(streams, 8)
            results = await append(
                writer, [an_append(s, versions[s], dice.randint(1, 3)) for s in chosen]
            )
            for result in results:
                held += isinstance(result, Appended)
                if isinstance(result, Appended):
                    versions[result.stream_id] = result.version
                else:
                    versions[result.stream_id] = await writer.fetchval(
                        "SELECT coalesce(max(version), 0) FROM events WHERE stream_id = $1",
                        result.stream_id,
                    )
        return held

    try:
        assert sum(await asyncio.gather(*[write(writer) for writer in writers])) > 100
        for stream_id, events in (await read_streams(writers[0], streams)).items():
            assert [event.version for event in events] == list(range(1, len(events) + 1)), stream_id
            assert all(one.position < next_one.position for one, next_one in pairwise(events))
    finally:
        for writer in writers:
            await writer.close()
