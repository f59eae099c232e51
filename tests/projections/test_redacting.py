"""Redactions and read tables: a row is made anew, and nobody who is late brings the old back."""

import json
from uuid import UUID

import psycopg
import pytest

from reactorcide.eventstore import store
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import JOB, DeleteJob, Failed
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import job_rows, jobs
from reactorcide.projections.projection import REGISTRY, Projection, named
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.redacting import redact_rows
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import OWNER, Journal, row_of
from reactorcide.tests.support.sealing import seal_all

FACT = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type)
SELECT gen_random_uuid(), event_id, 'redaction', 1, 1, 'event.redacted', jsonb_build_object(
    'position', position, 'reason', '', 'remaining_hash', ''
), 'system'
FROM events WHERE stream_id = $1 AND type = $2"""
_REDACT = """
SELECT redact_event(position, $3::text::jsonb) FROM events WHERE stream_id = $1 AND type = $2"""
LEFT = json.dumps({"user_id": str(OWNER), "name": "[redacted]", "job_command": "[redacted]"})


def nothing(_done: int, _total: int) -> None:
    """Tell nobody how far it is."""


async def test_a_redaction_is_not_undone_by_who_deletes_meanwhile(
    connection: Connection, database: Database
) -> None:
    """A deletion that was decided before writes the row after: without what is gone by then."""
    journal = Journal(connection)
    job_id = await journal.submit(name="old")
    await journal.finish(job_id, Failed(1, "the old error"))
    job = jobs.fold(await store.read_stream(connection, job_id))
    assert job is not None
    unit = decided(JOB, job.state, job.version, job_id, DeleteJob(), SYSTEM)
    assert unit is not None
    await seal_all(connection)
    left = '{"attempt": 1, "exit_code": 1, "error": "[redacted]"}'
    async with connection.transaction():
        await connection.execute(FACT, job_id, "job.failed")
        assert await connection.fetchval(_REDACT, job_id, "job.failed", left)
        await redact_rows(connection, "job", job_id)
    await store.append(connection, [unit[0]], job_rows.rows([unit[1]]))
    row = await row_of(connection, job_id)
    assert (row["status"], row["last_error"]) == ("deleted", "[redacted]")
    assert (await verify(database, named("jobs"), nothing)).differences == ()


async def test_a_redaction_is_not_undone_by_a_rebuild_under_way(
    connection: Connection, database: Database, database_uri: str
) -> None:
    """What was folded in an older snapshot is folded again."""
    journal = Journal(connection)
    job_id = await journal.submit(name="old")
    await journal.finish(job_id)
    await seal_all(connection)
    done: list[UUID] = []

    def redact_now(_done: int, _total: int) -> None:
        if not done:
            done.append(job_id)
            with psycopg.connect(database_uri) as other:
                said = [
                    text.replace("$1", "%(id)s")
                    .replace("$2", "'job.submitted'")
                    .replace("$3", "%(left)s")
                    for text in (FACT, _REDACT)
                ]
                for text in said:
                    other.execute(text, {"id": job_id, "left": LEFT})
                other.execute("UPDATE jobs SET name = '[redacted]'")

    made = await rebuild(database, named("jobs"), redact_now)
    assert done == [job_id]
    assert made.rows == 1
    assert (await row_of(connection, job_id))["name"] == "[redacted]"
    assert (await verify(database, named("jobs"), nothing)).differences == ()


@pytest.mark.parametrize("projection", REGISTRY, ids=lambda one: one.name)
async def test_a_stream_without_a_row_is_nothing_to_redact(
    connection: Connection, projection: Projection
) -> None:
    """Nor is one that is not there."""
    job_id = await Journal(connection).submit()
    await connection.execute("DELETE FROM jobs")
    await redact_rows(connection, projection.stream_type, job_id)
    assert await connection.fetchval("SELECT count(*) FROM jobs") == 0
