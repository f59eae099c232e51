"""What the database lets redactions and archives take from the log: no more than is recorded."""

import json
from uuid import UUID

import asyncpg
import pytest

from reactorcide.eventstore import redactions
from reactorcide.eventstore.database import APP_ROLE, Database
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append, Appended
from reactorcide.eventstore.store import append
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import a_fact, an_append

REDACTING = "SET reactorcide.redacting = 'on'"
_FACT = """
INSERT INTO events
    (event_id, stream_id, stream_type, version, schema_version, type, data, actor_type)
SELECT gen_random_uuid(), event_id, 'redaction', 1, 1, 'event.redacted',
    jsonb_build_object('position', position), 'system'
FROM events WHERE stream_id = $1"""
_SEALED = """
INSERT INTO sealed_tiles
SELECT 0, min(position), max(position), count(*), array_agg(position ORDER BY position),
    decode(repeat('01', 16 * count(*)::int), 'hex'),
    decode(repeat('02', 32 * count(*)::int), 'hex'),
    decode(repeat('03', 32 * count(*)::int), 'hex')
FROM events"""
_TOLD = """
SELECT (SELECT data::text FROM events WHERE stream_id = $1), (SELECT salts FROM sealed_tiles)"""


async def a_sealed_event(connection: Connection) -> tuple[UUID, int]:
    """Append an event that tells `secret`, and seal it; return its stream and position."""
    stream_id = new_id()
    one = Append("job", stream_id, 0, (a_fact('{"a": "secret", "b": 1}'),), SYSTEM)
    (appended,) = await append(connection, [one])
    assert isinstance(appended, Appended)
    await connection.execute(_SEALED)
    return stream_id, appended.position


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET data = '{}'",
        "UPDATE events SET actor_type = 'user'",
        "UPDATE events SET data = data - 'a'",
        "DELETE FROM events",
        "SET reactorcide.archiving = 'on'; DELETE FROM events",
    ],
)
async def test_a_forged_redaction_changes_nothing(connection: Connection, change: str) -> None:
    """Who says to be redacting is not believed without a fact of the same transaction."""
    stream_id, _ = await a_sealed_event(connection)
    await connection.execute(_FACT, stream_id)
    await connection.execute(REDACTING)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(change)


@pytest.mark.parametrize(
    "remains",
    [
        '{"a": "other"}',
        '{"a": "secret", "b": 2}',
        '{"c": "[redacted]"}',
        '{"b": "[redacted]"}',
        "[]",
    ],
)
async def test_a_redaction_only_takes_away(connection: Connection, remains: str) -> None:
    """Nothing else can be put in the place of what was told, by whomever; all stays as it was."""
    stream_id, position = await a_sealed_event(connection)
    before = await connection.fetchrow(_TOLD, stream_id)
    async with connection.transaction():
        await connection.execute(_FACT, stream_id)
        with pytest.raises(asyncpg.RestrictViolationError):
            async with connection.transaction():
                await redactions.erase(connection, position, remains)
    assert await connection.fetchrow(_TOLD, stream_id) == before


async def test_the_programs_role_redacts_with_a_fact_and_not_without(database: Database) -> None:
    """By the one function, which takes the salt as well, and shuts the door behind itself."""
    owner, program = await database.connect(role=False), await database.connect()
    try:
        stream_id, position = await a_sealed_event(owner)
        with pytest.raises(asyncpg.RestrictViolationError):
            await redactions.erase(program, position, "{}")
        async with program.transaction():
            await program.execute(_FACT, stream_id)
            assert await redactions.erase(program, position, '{"a": "[redacted]", "b": 1}')
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with program.transaction():
                    await program.execute("UPDATE events SET data = '{}'")
        data, salts = await owner.fetchrow(_TOLD, stream_id) or ("", b"")
        assert (data, salts) == ('{"a": "[redacted]", "b": 1}', bytes(16))
        async with owner.transaction():
            await owner.execute(_FACT.replace("version, 1, 1", "version, 2, 1"), new_id())
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute("UPDATE events SET data = '{}'")
    finally:
        await owner.close()
        await program.close()


async def test_only_what_is_recorded_as_archived_is_deleted(database: Database) -> None:
    """By whoever may migrate, in the transaction that records it; not by the programs' role."""
    owner, program = await database.connect(role=False), await database.connect()
    try:
        stream_id, position = await a_sealed_event(owner)
        with pytest.raises(asyncpg.SerializationError):
            await owner.execute("SELECT delete_archived($1)", new_id())
        object_id = new_id()
        await owner.execute(
            "INSERT INTO archived_objects VALUES ($1, 'k', $2, 1, 1, $3, $3)",
            object_id,
            bytes(32),
            position,
        )
        await owner.execute(
            "INSERT INTO archived_streams VALUES ($1, $2, 1, $3, $3, 0, 1)",
            stream_id,
            object_id,
            position,
        )
        with pytest.raises(asyncpg.SerializationError):  # no fact of the same transaction
            await owner.execute("SELECT delete_archived($1)", object_id)
        for change in (
            "DELETE FROM events",
            "SELECT delete_archived(NULL)",
            "INSERT INTO archived_streams DEFAULT VALUES",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await program.execute(change)
        assert await owner.fetchval("SELECT count(*) FROM events") == 1
    finally:
        await owner.close()
        await program.close()


async def test_an_archive_object_is_replaced_only_when_that_is_recorded(
    connection: Connection, database: Database
) -> None:
    """By a redaction in the same transaction, which names the object that takes its place."""
    program = await database.connect()
    try:
        object_id, redacted = new_id(), new_id()
        await connection.execute(
            "INSERT INTO archived_objects VALUES ($1, 'old', $2, 1, 1, 1, 1)", object_id, bytes(32)
        )
        for change in (
            "UPDATE archived_objects SET object_key = 'mine'",
            "UPDATE archived_streams SET block_start = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await program.execute(change)
        replace = "SELECT replace_archived($1, $2, 0, 0)"
        with pytest.raises(asyncpg.RestrictViolationError):
            await program.execute(replace, object_id, redacted)
        async with program.transaction():
            fact = {"object_id": str(object_id), "object_key": "new", "sha256": "01" * 32}
            await program.execute(
                """
                INSERT INTO events (
                    event_id, stream_id, stream_type, version, schema_version, type, data,
                    actor_type
                ) VALUES (
                    gen_random_uuid(), $1, 'redaction', 1, 1, 'event.redacted', $2, 'system'
                )""",
                redacted,
                json.dumps(fact),
            )
            assert await program.fetchval(replace, object_id, redacted) == "old"
        with pytest.raises(asyncpg.RestrictViolationError):  # it is of another transaction
            await program.execute(replace, object_id, redacted)
        row = await connection.fetchrow("SELECT object_key, sha256 FROM archived_objects")
        assert tuple(row or ()) == ("new", b"\x01" * 32)
    finally:
        await program.close()


async def test_what_is_not_sealed_is_not_redacted(connection: Connection) -> None:
    """Its hash would be of what is left, and prove nothing of what it was."""
    _, position = await a_sealed_event(connection)
    await append(connection, [an_append(new_id(), 0)])
    newest = await connection.fetchval("SELECT max(position) FROM events")
    for unsealed in (newest, position - 1, newest + 1):
        assert not await redactions.erase(connection, unsealed, "{}")


async def test_nobody_else_may_call_the_function(connection: Connection) -> None:
    """It runs with its owner's rights, and looks nothing up where others may put things."""
    rows = await connection.fetch(
        """
        SELECT proname, proacl::text[] AS rights, proconfig, prosecdef FROM pg_proc
        WHERE proname IN ('redact_event', 'delete_archived', 'replace_archived')
        ORDER BY proname"""
    )
    owner = await connection.fetchval("SELECT current_user")
    holders = [{right.partition("=")[0] for right in row["rights"]} for row in rows]
    assert holders == [{owner}, {owner, APP_ROLE}, {owner, APP_ROLE}]
    for row in rows:
        assert row["proconfig"] == ["search_path=pg_catalog, public, pg_temp"]
        assert row["prosecdef"]
