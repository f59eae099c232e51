"""A log whose old streams are in the object store is verified as one that has them all."""

from pathlib import Path

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.proof.bundle import verify_bundle
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import sealed_log
from reactorcide.projections.archiving import archive
from reactorcide.projections.bundling import Selection, write_bundle
from reactorcide.projections.log_walk import verify_log
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.test_archiving import follow, nothing, some_jobs, soon
from reactorcide.tests.support.sealing import KEY


async def _trust(connection: Connection) -> Trust:
    return Trust((Signer(await sealed_log.origin(connection), KEY).verifier,))


async def test_archived_events_prove_themselves(
    database: Database, connection: Connection, objects: ObjectStore, tmp_path: Path
) -> None:
    """In place and in a bundle; without the store they are missing, and changed ones are found."""
    events = sum(map(len, (await some_jobs(connection)).values())) + 1
    await follow(connection)
    made = await archive(database, objects, soon(), nothing)
    assert made.events == events - 1
    await follow(connection)
    trust = await _trust(connection)
    seen = await verify_log(database, trust, nothing, objects)
    assert (seen.finding, seen.events) == (None, events + made.objects)
    bundle = tmp_path / "all.bundle"
    await write_bundle(database, bundle, Selection(), nothing, objects)
    proved = verify_bundle(bundle, trust)
    assert (proved.finding, proved.events) == (None, events + made.objects)

    missing = (await verify_log(database, trust, nothing)).finding
    assert missing is not None
    assert (missing.kind, missing.position) == (Wrong.DELETED, 1)
