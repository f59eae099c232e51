"""Archive: a stream is in the log or in an object, whole, provable, whatever happens on the way."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Final
from uuid import UUID

import pytest

from reactorcide.eventstore import store
from reactorcide.eventstore.archived import NotAsSealed
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import DeleteJob
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import archives, audit_events, refilling
from reactorcide.projections.archiving import Archived, OtherStore, archive, count
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.rebuild import RebuildUnderWay, rebuild
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.archiving_at_work import (
    LATER,
    assert_equal,
    follow,
    in_log,
    nothing,
    some_jobs,
    soon,
)
from reactorcide.tests.projections.journal import Journal
from reactorcide.tests.projections.test_audit_events import BEGAN, RECORD, SECOND
from reactorcide.tests.support.sealing import seal_all

_PROGRAM: Final = """
import asyncio, sys
from datetime import datetime
sys.path[:] = {path!r}
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import archive_draft, archiving
archive_draft.OBJECT_STREAMS = 3
def told(done, total):
    print(done, flush=True)
before = datetime.fromisoformat({before!r})
asyncio.run(archiving.archive(Database({uri!r}), ObjectStore({url!r}), before, told))
print("done", flush=True)
"""


async def test_what_has_ended_moves_and_can_be_read(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Events as they were, rows gone, what waits untouched; tables equal the shorter log."""
    ended = await some_jobs(connection)
    await follow(connection)
    events = sum(map(len, ended.values()))
    assert await count(database, soon()) == Archived(4, events)
    done = await archive(database, objects, soon(), nothing)
    assert (done.streams, done.events, done.objects, done.left) == (4, events, 1, 0)
    for stream_id, recorded in ended.items():
        assert await archives.read_stream(connection, objects, stream_id) == recorded
        assert await store.read_stream(connection, stream_id) == []
    assert len(await in_log(connection)) == 1
    assert await connection.fetchval("SELECT count(*) FROM jobs") == 1
    await assert_equal(database)
    assert not (await rebuild(database, REGISTRY[0], nothing)).differed
    await follow(connection)
    assert await archive(database, objects, soon(), nothing) == Archived()
    assert await archives.read_stream(connection, objects, new_id()) == []


async def test_what_somebody_may_still_need_stays(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """A dependency of a job that waits, what ended later, what is not sealed or followed."""
    journal = Journal(connection)
    needed = await journal.submit()
    await journal.submit(waits=True, depends_on=(needed,))
    await journal.finish(needed)
    await seal_all(connection)
    assert await count(database, soon()) == Archived()
    await follow(connection)
    unsealed = await journal.submit()
    await journal.finish(unsealed)
    assert await count(database, soon()) == Archived()
    await follow(connection)
    assert (await count(database, soon())).streams == 1
    assert await count(database, datetime.now(UTC) - LATER) == Archived()
    await archive(database, objects, soon(), nothing)
    assert needed in await in_log(connection)
    assert unsealed not in await in_log(connection)


class Meddled(ObjectStore):
    """A store during whose writes somebody deletes a job."""

    def __init__(self, url: str, journal: Journal, job_id: UUID) -> None:
        super().__init__(url)
        self._journal, self._job_id = journal, job_id

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Put it, and delete the job."""
        await super().put(key, content)
        await self._journal.tell(self._job_id, DeleteJob())


async def test_a_stream_that_goes_on_meanwhile_stays_in_the_log(
    connection: Connection, database: Database, store_url: str
) -> None:
    """With all that would have moved beside it; the next run takes them, whole."""
    journal = Journal(connection)
    jobs = [await journal.submit() for _ in range(2)]
    for job_id in jobs:
        await journal.finish(job_id)
    await follow(connection)
    meddled = Meddled(store_url, journal, jobs[1])
    assert await archive(database, meddled, soon(), nothing) == Archived(left=2)
    assert await meddled.keys("archive") == []
    await assert_equal(database)
    await follow(connection)
    done = await archive(database, ObjectStore(store_url), soon(), nothing)
    assert (done.streams, done.left) == (2, 0)
    (*_, last) = await archives.read_stream(connection, meddled, jobs[1])
    assert last.type == "job.deleted"


async def test_what_was_tampered_with_is_not_put_away(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Neither its data nor its envelope; nothing is deleted."""
    ended = await some_jobs(connection, 1)
    await follow(connection)
    (recorded,) = ended.values()
    await connection.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    for change in ('data = data || \'{"name": "x"}\'', "ip = '10.0.0.1'"):
        await connection.execute(f"UPDATE events SET {change} WHERE version = 1")  # noqa: S608
        with pytest.raises(NotAsSealed) as caught:
            await archive(database, objects, soon(), nothing)
        assert caught.value.position == recorded[0].position
    assert len(await in_log(connection)) == 2


async def test_one_at_a_time_and_into_the_apis_store(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Nobody folds what goes; nobody looks for it in another store, or in one that is gone."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('rebuild jobs'))")
    with pytest.raises(RebuildUnderWay):
        await archive(database, objects, soon(), nothing)
    await connection.execute("SELECT pg_advisory_unlock_all()")
    await archive(database, objects, soon(), nothing)
    with pytest.raises(OtherStore):
        await archive(database, ObjectStore("memory://"), soon(), nothing)
    with pytest.raises(OtherStore):
        await archive(database, ObjectStore(objects.url + " of another"), soon(), nothing)


async def test_killed_at_any_point_nothing_is_lost(
    connection: Connection, database: Database, database_uri: str, objects: ObjectStore
) -> None:
    """After each kill every stream is in one place, whole; the last run leaves no stray object."""
    ended = await some_jobs(connection, 24)
    await follow(connection)
    source = _PROGRAM.format(
        path=sys.path, before=soon().isoformat(), uri=database_uri, url=objects.url
    )
    chance = Random(7)  # noqa: S311  no secret
    words: list[bytes] = []
    for last in (False, False, True):
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=PIPE)
        assert program.stdout is not None
        async with asyncio.timeout(60):
            if not last:
                for _ in range(chance.randint(1, 3)):
                    await program.stdout.readline()
                program.kill()
            else:
                words = (await program.stdout.read()).split()
            await program.wait()
            await connection.fetch(  # until the server has noticed
                "SELECT pg_advisory_lock(hashtext('rebuild jobs'))"
            )
        await connection.execute("SELECT pg_advisory_unlock_all()")
        there = await in_log(connection)
        for stream_id, recorded in ended.items():
            found = await archives.read_stream(connection, objects, stream_id)
            assert found == ([] if stream_id in there else recorded)
            if stream_id in there:
                assert await store.read_stream(connection, stream_id) == recorded
    assert words[-1] == b"done"
    assert len(await in_log(connection)) == 1
    kept = await connection.fetch("SELECT object_key FROM archived_objects ORDER BY 1")
    assert await objects.keys("archive") == [row[0] for row in kept]
    await assert_equal(database)


@pytest.mark.parametrize("seed", range(4))
async def test_the_trail_stays_a_fold_of_what_is_left(
    connection: Connection, database: Database, seed: int
) -> None:
    """What later rows had reached by one that is gone, they have not reached."""
    chance = Random(seed)  # noqa: S311  no secret
    moments = [BEGAN + chance.randint(0, 60) * SECOND for _ in range(40)]
    streams = [new_id() for _ in moments]
    last = 0
    for stream, moment in zip(streams, moments, strict=True):
        last = await connection.fetchval(RECORD, stream, moment)
    await audit_events.SUBSCRIPTION.write(connection, 0, last)
    await connection.execute("INSERT INTO checkpoints VALUES ('audit_events', $1)", last)
    await connection.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    for _ in range(3):
        gone = chance.sample(streams, 8)
        async with connection.transaction():
            await audit_events.drop_streams(connection, gone)
            await connection.execute("DELETE FROM events WHERE stream_id = ANY ($1)", gone)
        found = await refilling.verify(database, audit_events.SUBSCRIPTION)
        assert found.differences == ()
