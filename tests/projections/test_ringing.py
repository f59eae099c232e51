"""A lone submit and its ring in one round trip: the ring comes behind the commit, and once."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from reactorcide.api.jobs.submission import new_alike, new_units
from reactorcide.eventstore import append_sql
from reactorcide.eventstore.append_lane import AppendLane
from reactorcide.eventstore.database import Database, StatementRefused
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.record import SYSTEM, AppendToNew
from reactorcide.projections import job_rows
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import WORKER
from reactorcide.tests.projections.written_units import is_as_the_log_has_it

LONG = 10.0
BRIEFLY = 0.03
_SOURCE = "SELECT prosrc FROM pg_proc WHERE proname = 'submit_and_ring'"
_DEFINITION = "SELECT pg_get_functiondef('submit_and_ring'::regproc)"
_TIME = "SELECT recorded_at FROM events WHERE stream_id = $1"


def submit(count: int = 1) -> AppendToNew:
    """Return what begins so many jobs."""
    wanted = [JobSubmitted(user_id=WORKER, name="new", handler="a")] * count
    units = new_units(wanted, [False] * count, SYSTEM)
    texts = [one.events[0].data for one, _ in units]
    return new_alike(texts, [job_rows.new_row(change) for _, change in units], SYSTEM)


@pytest.fixture
async def lane(database: Database) -> AsyncIterator[AppendLane]:
    """Lend a connection that appends."""
    lane = AppendLane(database)
    yield lane
    await lane.disconnect()


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[Doorbell]:
    """Lend the doorbell of another program."""
    async with Doorbell(database) as opened:
        yield opened


@pytest.fixture
def unconnected(database: Database) -> Doorbell:
    """Lend a doorbell that can send nothing itself."""
    return Doorbell(database, ())


def _in_one_line(sql: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))


async def test_the_procedure_says_what_the_program_says(connection: Connection) -> None:
    """Word for word, and then commits and rings: what one changes the other must change as well."""
    (row,) = submit().rows
    shape = append_sql.Fresh(JobSubmitted.wire_type, JobSubmitted.schema_version)
    sql = append_sql.fresh(shape, job_rows.rows_to_new([row]).sql, to_many=True)
    source = re.sub(r"--[^\n]*", "", await connection.fetchval(_SOURCE))
    rings = "".join(f"NOTIFY reactorcide_{topic};" for topic in job_rows.ANNOUNCED.topics)
    assert _in_one_line(source) == _in_one_line(
        f"BEGIN {sql} INTO answer; COMMIT; SET LOCAL synchronous_commit = off; {rings} END"
    ).replace(";NOTIFY", "; NOTIFY").replace(";END", "; END")


async def test_others_hear_of_a_lone_submit_when_it_is_in_the_log(
    lane: AppendLane, elsewhere: Doorbell, unconnected: Doorbell, connection: Connection
) -> None:
    """Both topics, though the doorbell of who submits is not connected; and the job is there."""
    append = submit()
    with elsewhere.listen("jobs") as jobs, elsewhere.listen("events") as events:
        assert not await jobs.wait(0)
        began = datetime.now(UTC)
        recorded_at = await lane.append_to_new_one(append, job_rows.rows_to_new, unconnected)
        assert await jobs.wait(LONG)
        assert await connection.fetchval(_TIME, append.stream_ids[0]) == recorded_at
        assert await events.wait(LONG)
        assert began - timedelta(minutes=1) < recorded_at


async def test_what_comes_right_behind_goes_with_the_next_ring(
    database: Database, lane: AppendLane, elsewhere: Doorbell
) -> None:
    """The second of two submits rings by the doorbell, 5 ms after the first at the earliest."""
    clock = asyncio.get_running_loop().time
    async with Doorbell(database, ()) as doorbell:
        with elsewhere.listen("jobs") as listener:
            began = clock()
            assert doorbell.take_ring()
            await lane.append_to_new_one(submit(), job_rows.rows_to_new, doorbell)
            assert await listener.wait(LONG)
            assert clock() - began >= 0.005
            assert not await listener.wait(BRIEFLY)
            assert doorbell.take_ring()


async def _replaced(connection: Connection, begin: str, end: str) -> None:
    definition = await connection.fetchval(_DEFINITION)
    assert begin in definition
    await connection.execute(definition.replace(begin, end))


async def _no_room(connection: Connection) -> None:
    await _replaced(connection, "NOTIFY reactorcide_jobs;", "RAISE program_limit_exceeded;")


async def _no_right(connection: Connection) -> None:
    await _replaced(connection, "BEGIN\n", "BEGIN\nRAISE insufficient_privilege;\n")


@pytest.mark.parametrize("refuses", [_no_room, _no_right])
async def test_a_ring_that_is_refused_takes_no_submit_with_it(
    database: Database,
    lane: AppendLane,
    elsewhere: Doorbell,
    connection: Connection,
    refuses: Callable[[Connection], Awaitable[None]],
) -> None:
    """Behind the commit or before: the job is there once, and rung for by the doorbell."""
    await refuses(connection)
    append = submit()
    async with Doorbell(database, ()) as doorbell:
        with elsewhere.listen("jobs") as listener:
            recorded_at = await lane.append_to_new_one(append, job_rows.rows_to_new, doorbell)
            assert await listener.wait(LONG)
    rows = await connection.fetch(_TIME, append.stream_ids[0])
    assert [row[0] for row in rows] == [recorded_at]
    assert await is_as_the_log_has_it(database)


async def test_a_submit_that_is_refused_is_refused_with_its_ring_too(
    database: Database, lane: AppendLane, unconnected: Doorbell, connection: Connection
) -> None:
    """A stream that is there already, and nothing is written."""
    append = submit()
    await lane.append_to_new_one(append, job_rows.rows_to_new, unconnected)
    again = submit()._replace(stream_ids=append.stream_ids)
    with pytest.raises(StatementRefused):
        await lane.append_to_new_one(again, job_rows.rows_to_new, Doorbell(database, ()))
    assert await connection.fetchval("SELECT count(*) FROM events") == 1
