"""Rebuild and verify: equal to live, find and repair what is not, in nobody's way."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Final
from uuid import UUID

import asyncpg
import psycopg
import pytest

from reactorcide.benchmarks.rebuild_kills import Battery, battery
from reactorcide.eventstore.codec import CodecError, decode
from reactorcide.eventstore.database import Database, DatabaseError
from reactorcide.eventstore.domain.events import (
    ProjectionRebuilt,
    TokenRevoked,
    TokenRotated,
    UserDeactivated,
    UserRolesChanged,
    WorkerDrained,
)
from reactorcide.eventstore.domain.job import JOB
from reactorcide.eventstore.domain.projection import stream_id_of
from reactorcide.eventstore.domain.token import TOKEN
from reactorcide.eventstore.domain.user import USER
from reactorcide.eventstore.domain.worker import WORKER
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.store import read_stream
from reactorcide.projections import job_lists, table
from reactorcide.projections.code_version import code_version
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.paging import Page
from reactorcide.projections.projection import REGISTRY, Projection, UnknownProjection, named
from reactorcide.projections.rebuild import RebuildUnderWay, Rebuilt, rebuild
from reactorcide.projections.table import Difference
from reactorcide.projections.throttle import Throttle
from reactorcide.projections.verify import Verified, verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.samples import (
    ISSUED,
    LATER,
    OWNER,
    REGISTERED,
    WAY_TO,
    WORKER_REGISTERED,
)
from reactorcide.tests.projections.histories import Stream, record
from reactorcide.tests.projections.journal import Journal

JOBS: Final = named("jobs")
APART: Final = 1
"""Events for each program: enough to fold in several."""

_INDEXES: Final = """
SELECT i.relname, i.oid FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
JOIN pg_class AS t ON t.oid = indrelid WHERE t.relname LIKE $1"""
_SHAPE: Final = """
SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE tablename = $1
UNION ALL
SELECT 'constraint', conname::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = $1::text::regclass
UNION ALL
SELECT 'column', attname::text, format_type(atttypid, atttypmod) || attnotnull || attnum
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0
UNION ALL
SELECT 'table', relname::text, concat_ws(' ', relowner, relacl, reloptions, relpersistence)
FROM pg_class WHERE oid = $1::text::regclass
ORDER BY 1, 2"""

_UNKNOWN: Final = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type)
VALUES (gen_random_uuid(), $1, 'job', 2, 1, 'job.teleported', '{}', 'system')"""
_COPY_OF: Final = """
INSERT INTO jobs
SELECT (jsonb_populate_record(jobs, jsonb_build_object('job_id', $2::uuid))).* FROM jobs
WHERE job_id = $1"""
_CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


_ALL_ROWS: Final = "SELECT format('SELECT * FROM %I ORDER BY %I', $1::text, $2::text)"
_FOLDED: Final = "SELECT count(*) FROM rebuild_slices WHERE position IS NOT NULL"
_LOCKS_OF_OTHERS: Final = """
SELECT DISTINCT mode FROM pg_locks
JOIN pg_class AS c ON c.oid = relation AND c.relname ~ '^(events|jobs)'
WHERE pid <> pg_backend_pid() AND database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
)"""
_BESIDE: Final = "SELECT to_regclass('jobs_rebuild')"
_OTHERS_LEFT: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_KILLED: Final = """
import asyncio, os, signal, sys
sys.path[:] = sys.argv[1:]
from reactorcide.eventstore.database import Database
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild
uri, events_each = sys.stdin.read().split()
kill = lambda done, total: done * 2 > total and os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(rebuild(Database(uri), named("jobs"), kill, int(events_each)))"""


def _quiet(_done: int, _total: int) -> None:
    """Hear of no progress."""


async def _rebuild(database: Database, projection: Projection = JOBS) -> Rebuilt:
    return await rebuild(database, projection, _quiet)


async def _until_alone(connection: Connection) -> None:
    """A killed program's sessions end when the server sees that it is gone."""
    async with asyncio.timeout(30):
        while await connection.fetchval(_OTHERS_LEFT):
            await connection.execute("SELECT pg_sleep(0.01)")


async def _verify(database: Database, projection: Projection = JOBS) -> Verified:
    return await verify(database, projection, _quiet)


async def _rows(connection: Connection, projection: Projection) -> list[asyncpg.Record]:
    text = await connection.fetchval(_ALL_ROWS, projection.name, projection.key)
    return await connection.fetch(text)


async def _some_jobs(connection: Connection, number: int = 12) -> Journal:
    journal = Journal(connection)
    for nth in range(number):
        job_id = await journal.submit(name=f"job {nth}", labels={"n": str(nth)})
        if nth % 3:
            await journal.finish(job_id)
    return journal


SOME: Final[Mapping[str, tuple[Stream, ...]]] = {
    "jobs": tuple(Stream(JOB, new_id(), events) for events in WAY_TO.values() if events),
    "tokens": (
        Stream(TOKEN, new_id(), (ISSUED, TokenRotated(successor_id=OWNER, valid_until=LATER))),
        Stream(
            TOKEN,
            new_id(),
            (ISSUED.model_copy(update={"token_hash": "1" * 64}), TokenRevoked()),
        ),
    ),
    "users": (
        Stream(USER, new_id(), (REGISTERED, UserRolesChanged(roles=("admin",)), UserDeactivated())),
    ),
    "workers": (Stream(WORKER, new_id(), (WORKER_REGISTERED, WorkerDrained())),),
}


@pytest.mark.parametrize("projection", REGISTRY, ids=lambda one: one.name)
async def test_a_rebuilt_table_is_the_live_one(
    database: Database, connection: Connection, projection: Projection
) -> None:
    """Rows and digest; shape, names, options and grants; and so again the second time."""
    streams = [replace(stream) for stream in SOME[projection.name]]
    await record(connection, streams, Random(1))  # noqa: S311  a test's dice
    rows = await _rows(connection, projection)
    shape = await connection.fetch(_SHAPE, projection.name)
    first = await _rebuild(database, projection)
    second = await _rebuild(database, projection)
    assert not first.differed
    assert (first.rows, first.digest) == (len(streams), second.digest)
    assert await _rows(connection, projection) == rows
    assert await connection.fetch(_SHAPE, projection.name) == shape


async def test_an_empty_log_makes_an_empty_table(database: Database) -> None:
    """Nothing to fold is no special case."""
    made = await _rebuild(database)
    assert (made.rows, made.events, made.position, made.differed) == (0, 0, 0, False)
    assert (await _verify(database)).differences == ()


async def test_several_programs_make_the_same_table(
    database: Database, connection: Connection
) -> None:
    """Each stream is in one slice, and progress counts every event once."""
    await _some_jobs(connection, 40)
    alone = await _rebuild(database)
    told: list[tuple[int, int]] = []
    apart = await rebuild(database, JOBS, lambda done, total: told.append((done, total)), APART)
    assert (apart.rows, apart.digest, apart.differed) == (40, alone.digest, False)
    assert max(told) == (apart.events, apart.events)


@pytest.mark.parametrize("events_each", [APART, 1_000_000])
async def test_what_a_program_cannot_fold_is_told_as_it_is(
    database: Database, connection: Connection, events_each: int
) -> None:
    """An unknown event stops the rebuild with its position; the live table stays."""
    journal = await _some_jobs(connection, 4)
    job_id = await journal.submit()
    await connection.execute(_UNKNOWN, job_id)
    before = await _rows(connection, JOBS)
    position = await connection.fetchval("SELECT max(position) FROM events")
    with pytest.raises(CodecError, match=rf"job\.teleported v1 at position {position}"):
        await rebuild(database, JOBS, _quiet, events_each)
    with pytest.raises(CodecError, match=rf"job\.teleported v1 at position {position}"):
        await _verify(database)
    assert await _rows(connection, JOBS) == before
    assert await connection.fetchval(_BESIDE) is None
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 0


async def test_verify_names_keys_and_columns_and_changes_nothing(
    database: Database, connection: Connection
) -> None:
    """A changed row, one too many, one too few."""
    journal = await _some_jobs(connection, 3)
    changed, lost = await journal.submit(), await journal.submit()
    surplus = new_id()
    await connection.execute(
        "UPDATE jobs SET status = 'completed', priority = 7 WHERE job_id = $1", changed
    )
    await connection.execute(_COPY_OF, lost, surplus)
    await connection.execute("DELETE FROM jobs WHERE job_id = $1", lost)
    before = await _rows(connection, JOBS)
    seen = await _verify(database)
    assert set(seen.differences) == {
        Difference(changed, "changed", ("priority", "status")),
        Difference(surplus, "surplus", ()),
        Difference(lost, "missing", ()),
    }
    assert await _rows(connection, JOBS) == before


async def test_nobody_waits_for_a_verify(database: Database, connection: Connection) -> None:
    """In the middle of it others append, and it holds no lock that any of them would wait for."""
    await _some_jobs(connection, 3)
    found: list[str] = []

    def look(_done: int, _total: int) -> None:
        with psycopg.connect(database.uri, autocommit=True) as other:
            found.extend(row[0] for row in other.execute(_LOCKS_OF_OTHERS).fetchall())
            other.execute("SET lock_timeout = '1ms'")
            other.execute("UPDATE jobs SET priority = priority + 1")

    seen = await verify(database, JOBS, look)
    assert set(found) == {"AccessShareLock"}
    assert seen.differences == ()  # of the moment before
    assert len((await _verify(database)).differences) == 3


async def test_rebuild_repairs_and_says_so(database: Database, connection: Connection) -> None:
    """What somebody wrote by hand is gone; the log was right."""
    await _some_jobs(connection, 5)
    before = await _rows(connection, JOBS)
    await connection.execute("UPDATE jobs SET last_error = 'nothing to see here'")
    assert (await _rebuild(database)).differed
    assert await _rows(connection, JOBS) == before
    assert not (await _rebuild(database)).differed


async def test_a_cancelled_rebuild_leaves_all_as_it_was(
    database: Database, connection: Connection
) -> None:
    """As by Ctrl-C while it folds."""
    await _some_jobs(connection)
    before = await _rows(connection, JOBS)

    def cancel(_done: int, _total: int) -> None:
        task.cancel()

    task = asyncio.create_task(rebuild(database, JOBS, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _rows(connection, JOBS) == before
    assert not (await _rebuild(database)).differed


async def _killed_while_folding(database: Database, connection: Connection) -> None:
    """Kill -9 a rebuild at what it folds after half of the log."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, *sys.path, stdin=PIPE, stderr=PIPE
    )
    _, complaints = await program.communicate(f"{database.uri}\n{APART}\n".encode())
    assert program.returncode == -signal.SIGKILL, complaints
    await _until_alone(connection)


async def test_a_killed_rebuild_is_gone_on_with(database: Database, connection: Connection) -> None:
    """The live table is untouched; what was folded is not folded again; what came since is in."""
    journal = await _some_jobs(connection)
    before = await _rows(connection, JOBS)
    await _killed_while_folding(database, connection)
    assert await _rows(connection, JOBS) == before
    kept = await connection.fetchval(_FOLDED)
    assert kept > 0
    await journal.submit()
    told: list[int] = []
    made = await rebuild(database, JOBS, lambda done, _total: told.append(done))
    assert (made.was_under_way, made.differed, made.rows) == (True, False, 13)
    assert told[0] > 0
    assert len(await _rows(connection, JOBS)) == 13
    assert (await _verify(database)).differences == ()
    assert await connection.fetchval(_BESIDE) is None
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 0


async def test_an_index_that_is_built_is_not_built_again(connection: Connection) -> None:
    """Whoever goes on builds those that are missing; each has its like on the live table."""
    beside = table.beside(JOBS)
    await table.create(connection, JOBS, beside)
    await table.index([connection], JOBS, beside)
    built = await _indexes(connection, "jobs%\\_rebuild")
    live = await _indexes(connection, "jobs%")
    assert len(built) == len(live) - len(built)
    await connection.execute("DROP INDEX jobs_ended_by_user_rebuild")
    await table.index([connection], JOBS, beside)
    again = await _indexes(connection, "jobs%\\_rebuild")
    assert again.keys() == built.keys()
    assert {name for name in built if again[name] != built[name]} == {"jobs_ended_by_user_rebuild"}


async def _indexes(connection: Connection, tables: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await connection.fetch(_INDEXES, tables)}


async def test_what_other_code_began_is_dropped(database: Database, connection: Connection) -> None:
    """Another version may fold another row from the same events."""
    await _some_jobs(connection)
    await _killed_while_folding(database, connection)
    await connection.execute("UPDATE rebuilds SET made_by = 'another'")
    await connection.execute("UPDATE jobs_rebuild SET name = 'folded by other rules'")
    made = await _rebuild(database)
    assert (made.was_under_way, made.differed) == (False, False)
    assert (await _verify(database)).differences == ()


async def test_a_rebuild_is_an_event(database: Database, connection: Connection) -> None:
    """With position, rows, digest and code version, once for each swap."""
    await _some_jobs(connection, 3)
    await connection.execute("UPDATE jobs SET priority = 7")
    made = [await _rebuild(database), await _rebuild(database)]
    recorded = await read_stream(connection, stream_id_of("jobs"))
    assert [event.type for event in recorded] == ["projection.rebuilt"] * 2
    assert [decode(event) for event in recorded] == [
        ProjectionRebuilt(
            name="jobs",
            position=one.position,
            rows=3,
            digest=one.digest,
            events=one.events,
            differed=differed,
            code_version=code_version(),
        )
        for one, differed in zip(made, (True, False), strict=True)
    ]


async def test_a_rebuild_keeps_to_its_pace(database: Database, connection: Connection) -> None:
    """So many events a second are not exceeded; it ends all the same, and equal."""
    await _some_jobs(connection, 3)
    throttle = Throttle.of("100")
    made = await rebuild(database, JOBS, _quiet, throttle=throttle)
    assert not made.differed
    assert made.events / made.seconds <= 100


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "inf", "nan"])
def test_a_pace_that_is_none_is_refused(text: str) -> None:
    """Before anything is begun."""
    with pytest.raises(ValueError):  # noqa: PT011  by whatever reads the number
        Throttle.of(text)


async def test_killed_at_random_points_it_still_ends_equal(database: Database) -> None:
    """A small one of `make rebuild-kills`: writers go on, for inline and asynchronous alike."""
    outcome = await battery(database.uri, Battery(events=4000, kills=3, seed=1))
    assert outcome.kills == 3
    assert outcome.differed == []
    assert outcome.left == []


async def test_a_rebuild_whose_connections_are_cut_leaves_all_as_it_was(
    database: Database, connection: Connection
) -> None:
    """The server ends the sessions in the middle; it is a database error to the caller."""
    await _some_jobs(connection)
    before = await _rows(connection, JOBS)

    def cut(_done: int, _total: int) -> None:
        with psycopg.connect(database.uri, autocommit=True) as other:
            other.execute(_CUT)

    with pytest.raises(DatabaseError):
        await rebuild(database, JOBS, cut)
    again = await database.connect()
    try:
        assert await _rows(again, JOBS) == before
    finally:
        await again.close()
    assert not (await _rebuild(database)).differed


async def test_two_rebuilds_at_once_are_one_too_many(
    database: Database, connection: Connection
) -> None:
    """The second is refused, whichever process it is in."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('rebuild jobs'))")
    with pytest.raises(RebuildUnderWay):
        await _rebuild(database)


async def test_writers_go_on_and_nothing_is_lost(
    database: Database, connection: Connection
) -> None:
    """Four writers and a reader through five rebuilds: all succeed, and the table is right."""
    await _some_jobs(connection)
    is_over = asyncio.Event()
    written: list[UUID] = []
    others = [await database.connect() for _ in range(5)]

    async def write(other: Connection) -> None:
        journal = Journal(other)
        while not is_over.is_set():
            job_id = await journal.submit()
            await journal.finish(job_id)
            written.append(job_id)

    async def read(other: Connection) -> None:
        while not is_over.is_set():
            page = await job_lists.list_page(other, JobFilter(), Page(limit=5))
            assert page.rows

    async def rebuild_often() -> list[Rebuilt]:
        try:
            return [await rebuild(database, JOBS, _quiet, each) for each in (10**6, APART) * 2]
        finally:
            is_over.set()

    try:
        rebuilding = asyncio.create_task(rebuild_often())
        await asyncio.gather(rebuilding, *[write(one) for one in others[1:]], read(others[0]))
    finally:
        await asyncio.gather(*[other.close() for other in others])
    assert not any(one.differed for one in rebuilding.result())
    seen = await _verify(database)
    assert seen.differences == ()
    assert seen.rows == len(written) + 12
    assert len(written) > 10


def test_a_projection_is_asked_for_by_name() -> None:
    """An unknown one is refused with those that there are, and the nearest."""
    with pytest.raises(UnknownProjection, match=r"'jobs'.*jobs, tokens, users, workers"):
        named("job")
