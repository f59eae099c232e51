"""What the tests of archiving share: jobs that ended, and what must hold after any of it."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from reactorcide.eventstore import store
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import CancelJob, DeleteJob, Failed
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import audit_events, refilling
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.subscription import advance
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal
from reactorcide.tests.support.sealing import seal_all

LATER: Final = timedelta(hours=1)


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
