"""Archive: a stream is in the log or in an object, whole, provable, whatever happens on the way."""

import asyncio
import gzip
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore import merkle, redactions, store
from reactorcide.eventstore.archived import NotAsSealed
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import CancelJob, DeleteJob, Failed
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.leaves import leaf_entry, payload_hash
from reactorcide.eventstore.merkle import leaf_hash
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import archives, audit_events, refilling, sealed_log
from reactorcide.projections.archive_check import ArchiveBroken, Checked, check
from reactorcide.projections.archiving import Archived, OtherStore, archive, count
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.rebuild import RebuildUnderWay, rebuild
from reactorcide.projections.redacting import redact_rows
from reactorcide.projections.subscription import advance
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal
from reactorcide.tests.projections.test_audit_events import BEGAN, RECORD, SECOND
from reactorcide.tests.projections.test_redacting import FACT, LEFT
from reactorcide.tests.support.sealing import seal_all

LATER: Final = timedelta(hours=1)
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


def nothing(_done: int, _total: int) -> None:
    """Tell nobody how far it is."""


def soon() -> datetime:
    """Return a time before which all has ended."""
    return datetime.now(UTC) + LATER


async def follow(connection: AnyConnection) -> None:
    """Seal the log up to now, and bring the audit trail there."""
    await seal_all(connection)
    await connection.execute(
        "INSERT INTO checkpoints (name, position) VALUES ('audit_events', 0) ON CONFLICT DO NOTHING"
    )
    while (await advance(connection, audit_events.SUBSCRIPTION)).is_behind:
        pass


async def some_jobs(connection: Connection, number: int = 4) -> dict[UUID, list[RecordedEvent]]:
    """Record jobs that ended, in every way, and one that waits; return those that ended."""
    journal = Journal(connection)
    ended = []
    for nth in range(number):
        job_id = await journal.submit(
            name=f"job {nth}", labels={"é": "\U0001f600"}, args=[1.5, nth]
        )
        match nth % 4:
            case 0:
                await journal.finish(job_id)
            case 1:
                await journal.finish(job_id, Failed(1, "no"))
            case 2:
                await journal.tell(job_id, CancelJob())
            case _:
                await journal.finish(job_id)
                await journal.tell(job_id, DeleteJob())
        ended.append(job_id)
    await journal.submit(name="waits")
    return await store.read_streams(connection, ended)


async def assert_equal(database: Database) -> None:
    """Fail unless all tables are what the log makes."""
    for projection in REGISTRY:
        assert (await verify(database, projection, nothing)).differences == (), projection.name
    assert (await refilling.verify(database, audit_events.SUBSCRIPTION)).differences == ()


async def in_log(connection: Connection) -> set[UUID]:
    """Return the jobs of which anything is in the log."""
    sql = "SELECT DISTINCT stream_id FROM events WHERE stream_type = 'job'"
    return {row[0] for row in await connection.fetch(sql)}


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


async def test_an_object_proves_what_it_holds(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Payload, leaf and inclusion under a signed checkpoint; the log has the object's digest."""
    await some_jobs(connection)
    await follow(connection)
    (signed,) = await sealed_log.newest(connection)
    await archive(database, objects, soon(), nothing)
    row = await connection.fetchrow("SELECT data::text FROM events WHERE type = 'streams.archived'")
    assert row is not None
    fact = json.loads(row[0])
    content = await objects.read(fact["object_key"])
    assert sha256(content).hexdigest() == fact["sha256"]
    lines = gzip.decompress(content).splitlines()
    assert len(lines) == fact["events"]
    for line in lines:
        told: Mapping[str, Any] = json.loads(line)
        payload = payload_hash(bytes.fromhex(told["salt"]), json.dumps(told["data"]))
        assert payload.hex() == told["payload_hash"]
        leaf = leaf_hash(leaf_entry(told, payload))
        proof = await sealed_log.inclusion(connection, told["leaf_index"], signed.tree_size)
        size, root = signed.tree_size, signed.root
        assert merkle.is_included(told["leaf_index"], size, leaf, proof, root)


async def test_what_is_done_to_an_object_is_found(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Gone, another, or told otherwise by the tables; a redacted event is no harm."""
    ended = await some_jobs(connection)
    first = next(iter(ended.values()))[0]
    await follow(connection)
    async with connection.transaction():
        await connection.execute(FACT, first.stream_id, first.type)
        assert await redactions.erase(connection, first.position, LEFT)
        await redact_rows(connection, "job", first.stream_id)
    await follow(connection)
    done = await archive(database, objects, soon(), nothing)
    assert await check(database, objects, nothing) == Checked(1, done.events)
    (key,) = await objects.keys("archive")
    whole = await objects.read(key)
    other = gzip.compress(gzip.decompress(whole).replace(b'"exit_code":1', b'"exit_code":2'))
    for content in (whole[:-1], other, b""):
        await objects.put(key, _one(content))
        with pytest.raises(ArchiveBroken, match="SHA-256"):
            await check(database, objects, nothing)
    await objects.put(key, _one(whole))
    for sql in (
        "UPDATE archived_streams SET events = events + 1",
        "UPDATE sealed_tiles SET leaf_hashes = payload_hashes",
        "DELETE FROM archived_objects",
    ):
        await connection.execute(sql)
        with pytest.raises(ArchiveBroken):
            await check(database, objects, nothing)
        if "streams" in sql:
            await connection.execute("UPDATE archived_streams SET events = events - 1")
            await check(database, objects, nothing)
    await objects.delete_all(key)
    with pytest.raises(ArchiveBroken, match="no object"):
        await check(database, objects, nothing)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


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
