"""The rows of new jobs, written with their first events: those that are new, and all or none."""

import asyncpg
import pytest

from reactorcide.api.jobs.submission import new_alike, new_units
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.ids import new_ids
from reactorcide.eventstore.record import (
    SYSTEM,
    Appended,
    Conflict,
    Context,
)
from reactorcide.eventstore.store import (
    append_to_new,
    read_stream,
    read_streams,
)
from reactorcide.projections import job_rows, jobs
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import WORKER, row_of
from reactorcide.tests.projections.written_units import append_units, is_as_the_log_has_it


@pytest.mark.parametrize("queues", [("one",), ("one", "other", "third")])
async def test_new_jobs_begin_though_one_of_them_is_there(
    database: Database, writer: Connection, connection: Connection, queues: tuple[str, ...]
) -> None:
    """All that are new, in one statement; when an id is taken, the others in a careful one."""
    wanted = [
        JobSubmitted(user_id=WORKER, name="new", handler="a", queue_name=queue)
        for queue in queues * 3
    ]
    units = new_units(wanted, [False] * len(wanted), SYSTEM)
    again = new_units(wanted, [False] * len(wanted), Context(actor_type="user", actor_id=WORKER))
    taken = units[1][1].stream_id
    again[1] = again[1][0]._replace(stream_id=taken), again[1][1]._replace(stream_id=taken)
    assert all(isinstance(result, Appended) for result in await append_units(writer, units))
    results = await append_units(writer, again)
    assert [isinstance(result, Conflict) for result in results] == [
        nth == 1 for nth in range(len(wanted))
    ]
    found = await jobs.get_many(connection, [change.stream_id for _, change in again])
    assert len(found) == len(wanted)
    assert await is_as_the_log_has_it(database)
    counted = await connection.fetch(
        "SELECT queue_name, sum(jobs) AS jobs FROM queue_changes GROUP BY queue_name"
    )
    assert sum(row["jobs"] for row in counted) == 2 * len(wanted) - 1


@pytest.mark.parametrize("queues", [("one",), ("one", "other", "third")])
async def test_jobs_written_as_columns_are_those_that_are_written_one_by_one(
    database: Database, writer: Connection, connection: Connection, queues: tuple[str, ...]
) -> None:
    """The same events but for their ids and times, the same rows; all of them or none."""
    wanted = [
        JobSubmitted(user_id=WORKER, name="new", handler="a", queue_name=queue, priority=nth % 2)
        for nth, queue in enumerate(queues * 3)
    ]
    units = new_units(wanted, [False] * len(wanted), SYSTEM)
    texts = [one.events[0].data for one, _ in units]
    columns = new_alike(texts, [job_rows.new_row(change) for _, change in units], SYSTEM)
    await append_to_new(writer, columns, job_rows.rows_to_new(columns.rows))
    await append_units(writer, units)
    streams = await read_streams(connection, columns.stream_ids)
    for stream_id, (unit, _) in zip(columns.stream_ids, units, strict=True):
        (event,), (other,) = streams[stream_id], await read_stream(connection, unit.stream_id)
        assert event[2:3] + event[4:-1] == other[2:3] + other[4:-1]
        row, one = await row_of(connection, stream_id), await row_of(connection, unit.stream_id)
        changing = {"job_id", "created_at", "updated_at"}
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in one.items() if k not in changing
        }
    again = columns._replace(stream_ids=[*new_ids(len(wanted) - 1), columns.stream_ids[0]])
    rows = job_rows.rows_to_new(again.rows)
    with pytest.raises(asyncpg.UniqueViolationError):
        await append_to_new(writer, again, rows)
    assert await connection.fetchval("SELECT count(*) FROM events") == 2 * len(wanted)
    assert await is_as_the_log_has_it(database)
    counted = await connection.fetchval("SELECT sum(jobs) FROM queue_changes")
    assert counted == 2 * len(wanted)
