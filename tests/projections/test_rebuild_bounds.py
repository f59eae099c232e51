"""What a rebuild leaves alone: effects on others, and a live table that it can't make anew."""

from dataclasses import replace
from typing import Final

import pytest

from reactorcide.cli import rebuilding
from reactorcide.eventstore.codec import UnknownEvent
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import DeleteJob, Failed
from reactorcide.projections import (
    checkpoints,
    refilling,
    sealer,
    unfinished_objects,
)
from reactorcide.projections.audit_events import SUBSCRIPTION
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.subscription import advance
from reactorcide.projections.throttle import UNTHROTTLED
from reactorcide.projections.upkeep import Kept, upkeep
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal
from reactorcide.tests.projections.test_runner import appended
from reactorcide.tests.projections.test_sealer import a_sealer, sealed_by

TABLES: Final = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' AND NOT c.relispartition ORDER BY 1"""
CONTENT: Final = "SELECT coalesce(array_agg(t::text ORDER BY t::text), '{}') FROM {table} AS t"
TRAIL: Final = "SELECT * FROM audit_events ORDER BY position"
NEWER: Final = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type)
VALUES (gen_random_uuid(), gen_random_uuid(), 'job', 1, 99, 'job.queued', '{}', 'system')"""


def quiet(_done: int, _total: int) -> None:
    """Hear of no progress."""


async def contents(connection: AnyConnection) -> dict[str, list[str]]:
    """Return what every table holds that is not remade."""
    remade = {one.name for one in rebuilding.chosen(None)}
    names = [row[0] for row in await connection.fetch(TABLES)]
    return {
        name: await connection.fetchval(CONTENT.replace("{table}", name))
        for name in names
        if name not in remade
    }


async def followed(database: Database) -> None:
    """Let the trail have all there is."""
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, SUBSCRIPTION.name)
        while (await advance(session, SUBSCRIPTION)).is_behind:
            pass


async def much_to_do(database: Database, connection: Connection) -> Journal:
    """Leave work for everything that has effects; some of the like was done already."""
    journal = Journal(connection)
    done, ended, failed = [await journal.submit() for _ in range(3)]
    await journal.submit(depends_on=(done,), waits=True)
    await journal.submit(depends_on=(failed,), waits=True)
    lost = await journal.submit()
    await journal.claim(lost)
    await connection.execute("UPDATE jobs SET lease_until = now() - interval '1 minute'")
    await journal.finish(done)
    await journal.finish(failed, Failed(1, "no"))
    await journal.finish(ended)
    await unfinished_objects.note_deleted(connection, ended)
    await journal.tell(ended, DeleteJob())
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, sealer.NAME)
        await sealed_by(session, a_sealer())
    await followed(database)
    return journal


async def test_a_rebuild_does_nothing_to_others(database: Database, connection: Connection) -> None:
    """All tables are remade; what has effects did nothing again, and does what it had to do, once.

    Dependents and lost leases (upkeep), objects of deleted jobs, the sealer.
    """
    journal = await much_to_do(database, connection)
    before = await contents(connection)
    made = await rebuilding.rebuild_some(database.uri, rebuilding.chosen(None), UNTHROTTLED)
    assert not [one["name"] for one in made if one["differed"]]
    after = await contents(connection)
    told = [row for row in after.pop("events") if row not in before["events"]]
    assert len(told) == len(made) == len([row for row in told if "projection.rebuilt" in row])
    del before["events"]
    assert {"sealed_tiles", "signed_checkpoints", "unfinished_objects"} <= before.keys()
    assert before["unfinished_objects"]
    assert before["sealed_tiles"]
    assert after == before
    assert await upkeep(connection, journal.door) == Kept(queued=1, cancelled=1, expired=1)
    assert await upkeep(connection, journal.door) == Kept(0, 0, 0)


async def test_a_rebuild_ends_at_an_event_that_it_does_not_know(
    database: Database, connection: Connection
) -> None:
    """The error names the event; the table that follows the log stays, and nothing is beside it."""
    for wire_type in ("job.queued", "job.teleported", "job.queued"):
        await appended(connection, wire_type)
    newer = replace(SUBSCRIPTION, known_types=SUBSCRIPTION.known_types | {"job.teleported"})
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, SUBSCRIPTION.name)
        await advance(session, newer)  # a newer version took it
    before = await contents(connection), await connection.fetch(TRAIL)
    position = await connection.fetchval("SELECT position FROM events WHERE type ~ 'teleported'")
    with pytest.raises(UnknownEvent, match=rf"job\.teleported v1 at position {position}"):
        await rebuild(database, SUBSCRIPTION, quiet)
    with pytest.raises(UnknownEvent, match=rf"job\.teleported v1 at position {position}"):
        await refilling.verify(database, SUBSCRIPTION)
    assert (await contents(connection), await connection.fetch(TRAIL)) == before
    assert not (await rebuild(database, newer, quiet)).differed


async def test_the_trail_takes_a_newer_version_of_an_event_it_knows(
    database: Database, connection: Connection
) -> None:
    """It has the envelope alone: live and rebuilt are equal, whatever the data mean."""
    await connection.execute(NEWER)
    await followed(database)
    before = await connection.fetch(TRAIL)
    assert len(before) == 1
    assert not (await rebuild(database, SUBSCRIPTION, quiet)).differed
    assert (await connection.fetch(TRAIL)) == before
