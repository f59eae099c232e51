"""Rebuild: equal to live, repairing what is not, in nobody's way."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Final
from uuid import UUID

import asyncpg
import pytest

from reactorcide.eventstore.codec import CodecError, decode
from reactorcide.eventstore.database import Database
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
from reactorcide.projections import job_lists
from reactorcide.projections.code_version import code_version
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.paging import Page
from reactorcide.projections.projection import REGISTRY, Projection, UnknownProjection, named
from reactorcide.projections.rebuild import RebuildUnderWay, Rebuilt, rebuild
from reactorcide.projections.throttle import Throttle
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
from reactorcide.tests.projections.rebuilding import (
    APART,
    BESIDE,
    JOBS,
    quiet,
    rebuilt,
    rows_of,
    some_jobs,
    verified,
)

_SHAPE: Final = """
SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE tablename = $1
UNION ALL
SELECT 'constraint', conname::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = $1::text::regclass AND NOT (contype = 'n' AND coninhcount > 0)
UNION ALL
SELECT 'column', attname::text,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attnum, nullif(attstattarget, -1))
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0
UNION ALL
SELECT 'table', relname::text, concat_ws(' ', relowner, relacl, reloptions, relpersistence)
FROM pg_class WHERE oid = $1::text::regclass
ORDER BY 1, 2"""

_TREE: Final = """
SELECT $1::text AS name
UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits
WHERE inhparent = $1::text::regclass ORDER BY name"""

_UNKNOWN: Final = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type)
VALUES (gen_random_uuid(), $1, 'job', 2, 1, 'job.teleported', '{}', 'system')"""

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


async def shape_of(connection: Connection, projection: Projection) -> list[asyncpg.Record]:
    """Return what there is to say of a table and its partitions but for their rows."""
    tables = await connection.fetch(_TREE, projection.name)
    return [row for table in tables for row in await connection.fetch(_SHAPE, table["name"])]


@pytest.mark.parametrize("projection", REGISTRY, ids=lambda one: one.name)
async def test_a_rebuilt_table_is_the_live_one(
    database: Database, connection: Connection, projection: Projection
) -> None:
    """Rows and digest; shape, names, options and grants; and so again the second time."""
    streams = [replace(stream) for stream in SOME[projection.name]]
    await record(connection, streams, Random(1))  # noqa: S311  a test's dice
    rows = await rows_of(connection, projection)
    shape = await shape_of(connection, projection)
    first = await rebuilt(database, projection)
    second = await rebuilt(database, projection)
    assert not first.differed
    assert (first.rows, first.digest) == (len(streams), second.digest)
    assert await rows_of(connection, projection) == rows
    assert await shape_of(connection, projection) == shape


async def test_an_empty_log_makes_an_empty_table(database: Database) -> None:
    """Nothing to fold is no special case."""
    made = await rebuilt(database)
    assert (made.rows, made.events, made.position, made.differed) == (0, 0, 0, False)
    assert (await verified(database)).differences == ()


async def test_several_programs_make_the_same_table(
    database: Database, connection: Connection
) -> None:
    """Each stream is in one slice, and progress counts every event once."""
    await some_jobs(connection, 40)
    alone = await rebuilt(database)
    told: list[tuple[int, int]] = []
    apart = await rebuild(database, JOBS, lambda done, total: told.append((done, total)), APART)
    assert (apart.rows, apart.digest, apart.differed) == (40, alone.digest, False)
    assert max(told) == (apart.events, apart.events)


@pytest.mark.parametrize("events_each", [APART, 1_000_000])
async def test_what_a_program_cannot_fold_is_told_as_it_is(
    database: Database, connection: Connection, events_each: int
) -> None:
    """An unknown event stops the rebuild with its position; the live table stays."""
    journal = await some_jobs(connection, 4)
    job_id = await journal.submit()
    await connection.execute(_UNKNOWN, job_id)
    before = await rows_of(connection, JOBS)
    position = await connection.fetchval("SELECT max(position) FROM events")
    with pytest.raises(CodecError, match=rf"job\.teleported v1 at position {position}"):
        await rebuild(database, JOBS, quiet, events_each)
    with pytest.raises(CodecError, match=rf"job\.teleported v1 at position {position}"):
        await verified(database)
    assert await rows_of(connection, JOBS) == before
    assert await connection.fetchval(BESIDE) is None
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 0


async def test_rebuild_repairs_and_says_so(database: Database, connection: Connection) -> None:
    """What somebody wrote by hand is gone; the log was right."""
    await some_jobs(connection, 5)
    before = await rows_of(connection, JOBS)
    await connection.execute("UPDATE jobs SET last_error = 'nothing to see here'")
    assert (await rebuilt(database)).differed
    assert await rows_of(connection, JOBS) == before
    assert not (await rebuilt(database)).differed


async def test_a_rebuild_is_an_event(database: Database, connection: Connection) -> None:
    """With position, rows, digest and code version, once for each swap."""
    await some_jobs(connection, 3)
    await connection.execute("UPDATE jobs SET priority = 7")
    made = [await rebuilt(database), await rebuilt(database)]
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
    await some_jobs(connection, 3)
    throttle = Throttle.of("100")
    made = await rebuild(database, JOBS, quiet, throttle=throttle)
    assert not made.differed
    assert made.events / made.seconds <= 100


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "inf", "nan"])
def test_a_pace_that_is_none_is_refused(text: str) -> None:
    """Before anything is begun."""
    with pytest.raises(ValueError):  # noqa: PT011  by whatever reads the number
        Throttle.of(text)


async def test_two_rebuilds_at_once_are_one_too_many(
    database: Database, connection: Connection
) -> None:
    """The second is refused, whichever process it is in."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('rebuild jobs'))")
    with pytest.raises(RebuildUnderWay):
        await rebuilt(database)


async def test_writers_go_on_and_nothing_is_lost(
    database: Database, connection: Connection
) -> None:
    """Four writers and a reader through five rebuilds: all succeed, and the table is right."""
    await some_jobs(connection)
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
            return [await rebuild(database, JOBS, quiet, each) for each in (10**6, APART) * 2]
        finally:
            is_over.set()

    try:
        rebuilding = asyncio.create_task(rebuild_often())
        await asyncio.gather(rebuilding, *[write(one) for one in others[1:]], read(others[0]))
    finally:
        await asyncio.gather(*[other.close() for other in others])
    assert not any(one.differed for one in rebuilding.result())
    seen = await verified(database)
    assert seen.differences == ()
    assert seen.rows == len(written) + 12
    assert len(written) > 10


def test_a_projection_is_asked_for_by_name() -> None:
    """An unknown one is refused with those that there are, and the nearest."""
    with pytest.raises(UnknownProjection, match=r"'jobs'.*jobs, tokens, users, workers"):
        named("job")
