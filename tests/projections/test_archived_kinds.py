"""Archive: what of each kind ends and goes, what stays, and who still asks after what is gone."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore import redactions, store
from reactorcide.eventstore.database import Database, DatabaseUnavailable
from reactorcide.eventstore.domain.access_report import ACCESS, Report
from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import TokenIssued
from reactorcide.eventstore.domain.job import DeleteJob, Failed
from reactorcide.eventstore.domain.token import TOKEN, IssueToken, RevokeToken, RotateToken
from reactorcide.eventstore.domain.user import USER, DeactivateUser, RegisterUser
from reactorcide.eventstore.domain.worker import WORKER, DrainWorker, RegisterWorker, StopWorker
from reactorcide.eventstore.handle import TransactionDoor, handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import archives, audit_events, due_jobs, tokens, users, workers
from reactorcide.projections.archive_check import Checked, check
from reactorcide.projections.archiving import archive, count
from reactorcide.projections.audit_events import AuditFilter
from reactorcide.projections.projection import Projection, named
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.redacting import redact_rows
from reactorcide.projections.subscription import Subscription
from reactorcide.projections.upkeep import Kept, upkeep
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.samples import DENIED, LOG_READ, WORKER_REGISTERED
from reactorcide.tests.projections.archiving_at_work import assert_equal, follow, nothing, soon
from reactorcide.tests.projections.journal import Journal, now, row_of
from reactorcide.tests.projections.test_redacting import FACT, LEFT

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
_ROWS: Final[Mapping[str, Any]] = {
    "user": users.rows,
    "token": tokens.rows,
    "worker": workers.rows,
    "access": lambda _changes: InlineRows("", ()),
}


async def _made(connection: Connection, decider: Decider[Any, Any, Any], *commands: Any) -> UUID:
    """Record a stream; return its id."""
    door: TransactionDoor[Any] = TransactionDoor(connection, _ROWS[decider.stream_type])
    stream_id = new_id()
    for command in commands:
        await handle(connection, door, decider, stream_id, command, SYSTEM)
    return stream_id


async def _user(connection: Connection, name: str, *commands: Any) -> UUID:
    return await _made(connection, USER, RegisterUser(name, None, ("user",)), *commands)


def _issue(user_id: UUID, nth: int, expires_at: datetime | None) -> IssueToken:
    return IssueToken(
        TokenIssued(
            user_id=user_id, name="t", token_hash=f"{nth:064}", prefix="p", expires_at=expires_at
        )
    )


async def test_what_has_ended_of_every_kind_moves(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Tokens, workers, reports; not what holds or may, nor users, whose names stay taken."""
    ada = await _user(connection, "ada")
    gone = await _user(connection, "gone", DeactivateUser())
    later = now() + timedelta(days=1)
    ended = [
        await _made(connection, TOKEN, _issue(ada, 1, None), RevokeToken()),
        await _made(connection, TOKEN, _issue(ada, 2, LONG_AGO)),
        await _made(connection, TOKEN, _issue(ada, 3, None), RotateToken(new_id(), LONG_AGO)),
        await _made(connection, TOKEN, _issue(gone, 4, None)),
        await _made(
            connection, WORKER, RegisterWorker(WORKER_REGISTERED), DrainWorker(), StopWorker("x")
        ),
        await _made(connection, ACCESS, Report(DENIED)),
        await _made(connection, ACCESS, Report(LOG_READ)),
    ]
    stay = [
        await _made(connection, TOKEN, _issue(ada, 5, None)),
        await _made(connection, TOKEN, _issue(ada, 6, now() + timedelta(minutes=30))),
        await _made(connection, TOKEN, _issue(ada, 7, None), RotateToken(new_id(), later)),
        await _made(connection, WORKER, RegisterWorker(WORKER_REGISTERED), DrainWorker()),
        ada,
        gone,
    ]
    recorded = await store.read_streams(connection, ended)
    await follow(connection)
    events = sum(map(len, recorded.values()))
    assert ((found := await count(database, soon())).streams, found.events) == (7, events)
    assert (await archive(database, objects, LONG_AGO - timedelta(days=1), nothing)).streams == 0
    done = await archive(database, objects, soon(), nothing)
    assert (done.streams, done.events, done.left) == (7, events, 0)
    for stream_id in ended:
        assert await archives.read_stream(connection, objects, stream_id) == recorded[stream_id]
        assert await store.read_stream(connection, stream_id) == []
    for stream_id in stay:
        assert await store.read_stream(connection, stream_id) != []
    (denied,), (read,) = (recorded[stream_id] for stream_id in ended[-2:])
    assert AuditFilter(outcome="denied").passes(denied)
    assert not AuditFilter(outcome="success").passes(denied)
    assert AuditFilter(outcome="success", job_id=LOG_READ.job_id).passes(read)
    assert not AuditFilter(job_id=new_id()).passes(read)
    assert await connection.fetchval("SELECT count(*) FROM tokens") == 3
    assert await connection.fetchval("SELECT count(*) FROM workers") == 1
    for nth in range(1, 5):
        assert await tokens.authenticate(connection, f"{nth:064}") is None
    assert await tokens.authenticate(connection, f"{5:064}") is not None
    await assert_equal(database)
    assert await check(database, objects, nothing) == Checked(1, events)


async def test_a_job_that_came_too_late_finds_how_the_archived_one_ended(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """It was looked up before, recorded after: it goes on or is cancelled, and never waits on."""
    journal = Journal(connection)
    completed, deleted, failed, unknown = [await journal.submit() for _ in range(4)]
    for job_id in (completed, deleted, unknown):
        await journal.finish(job_id)
    await journal.tell(deleted, DeleteJob())
    await journal.finish(failed, Failed(1, "no"))
    await follow(connection)
    assert (await archive(database, objects, soon(), nothing)).streams == 4
    await connection.execute(
        "UPDATE archived_streams SET ended_as = NULL WHERE stream_id = $1", unknown
    )
    soon_enough = now() + timedelta(seconds=1)
    goes = [
        await journal.submit(run_at=soon_enough, depends_on=(completed, deleted)),
        await journal.submit(waits=True, depends_on=(completed,)),
    ]
    stops = {
        await journal.submit(waits=True, depends_on=(completed, failed)): "failed",
        await journal.submit(run_at=soon_enough, depends_on=(unknown,)): "archived",
    }
    while (await due_jobs.next_due(connection)).at is not None:
        pass  # the database's clock goes on
    assert await upkeep(connection, journal.door) == Kept(queued=2, cancelled=2, expired=0)
    for job_id in goes:
        assert (await row_of(connection, job_id))["status"] == "queued"
    for job_id, status in stops.items():
        row = await row_of(connection, job_id)
        assert (row["status"], row["last_error"].endswith(status)) == ("cancelled", True)
    await assert_equal(database)


def _break_off(done: int, total: int) -> None:
    """End a rebuild, as when its server goes away; what it has folded stays."""
    if 2 * done > total:
        raise ConnectionResetError


async def test_what_killed_rebuilds_have_folded_is_dropped(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """It has rows of what leaves the log: the next rebuild begins anew, and ends equal."""
    journal = Journal(connection)
    for _ in range(12):
        await journal.finish(await journal.submit())
    await follow(connection)
    tabled: list[Projection | Subscription] = [named("jobs"), audit_events.SUBSCRIPTION]
    for one in tabled:
        with pytest.raises(DatabaseUnavailable):
            await rebuild(database, one, _break_off, 40)
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 2
    done = await archive(database, objects, soon(), nothing)
    assert done.streams == 12
    assert await connection.fetchval("SELECT count(*) FROM rebuilds") == 0
    for name in ("jobs_rebuild", "audit_events_rebuild"):
        assert await connection.fetchval("SELECT to_regclass($1)", name) is None
    for one in tabled:
        made = await rebuild(database, one, nothing)
        assert (made.was_under_way, made.differed) == (False, False)
    await assert_equal(database)


class _Redacting(ObjectStore):
    """A store during whose writes somebody redacts an event of what is written."""

    def __init__(self, url: str, connection: Connection, job_id: UUID) -> None:
        super().__init__(url)
        self._connection, self._job_id = connection, job_id

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Put it, and redact."""
        await super().put(key, content)
        sql = "SELECT position FROM events WHERE stream_id = $1 AND version = 1"
        position = await self._connection.fetchval(sql, self._job_id)
        async with self._connection.transaction():
            await self._connection.execute(FACT, self._job_id, "job.submitted")
            assert await redactions.erase(self._connection, position, LEFT)
            await redact_rows(self._connection, "job", self._job_id)


async def test_what_is_redacted_meanwhile_is_not_archived_as_it_was(
    connection: Connection, database: Database, store_url: str
) -> None:
    """The object tells what was erased: it goes, and the next run writes another."""
    journal = Journal(connection)
    job_id = await journal.submit(name="kanarienvogel")
    await journal.finish(job_id)
    await follow(connection)
    meddled = _Redacting(store_url, connection, job_id)
    done = await archive(database, meddled, soon(), nothing)
    assert (done.streams, done.left) == (0, 1)
    assert await meddled.keys("archive") == []
    await follow(connection)
    objects = ObjectStore(store_url)
    assert (await archive(database, objects, soon(), nothing)).streams == 1
    (first, *_) = await archives.read_stream(connection, objects, job_id)
    assert "kanarienvogel" not in first.data
    assert (await check(database, objects, nothing)).objects == 1
