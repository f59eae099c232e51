"""Nobody changes the log: by trigger for everybody, by grants for the role of the programs."""

import asyncpg
import pytest

from reactorcide.eventstore.database import APP_ROLE, Database
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.store import append, read_stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import an_append

CHANGES = (
    "UPDATE events SET data = '{}'",
    "UPDATE events SET data = '{}' WHERE false",
    "DELETE FROM events",
    "TRUNCATE events",
    "TRUNCATE events CASCADE",
)


@pytest.mark.parametrize("change", CHANGES)
async def test_even_the_owner_and_superuser_changes_nothing(
    connection: Connection, change: str
) -> None:
    """The triggers fire for whoever owns the table or the server."""
    stream_id = new_id()
    await append(connection, [an_append(stream_id, 0)])
    before = await read_stream(connection, stream_id)
    with pytest.raises(asyncpg.RestrictViolationError, match="events are immutable"):
        await connection.execute(change)
    assert await read_stream(connection, stream_id) == before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_replica_session_changes_nothing_either(
    connection: Connection, change: str
) -> None:
    """`session_replication_role = replica` silences ordinary triggers, not these."""
    await append(connection, [an_append(new_id(), 0)])
    await connection.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(change)


async def test_an_upsert_changes_nothing(connection: Connection) -> None:
    """ON CONFLICT DO UPDATE is an update."""
    await append(connection, [an_append(new_id(), 0)])
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("""
            INSERT INTO events SELECT * FROM events
            ON CONFLICT (stream_id, version) DO UPDATE SET data = '{}'""")


async def test_a_merge_changes_nothing(connection: Connection) -> None:
    """MERGE is an update or a delete."""
    await append(connection, [an_append(new_id(), 0)])
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("""
            MERGE INTO events AS e USING (SELECT 1) AS one ON true
            WHEN MATCHED THEN DELETE""")


@pytest.mark.parametrize("change", [*CHANGES, "DROP TABLE events"])
async def test_the_programs_role_may_not_even_try(database: Database, change: str) -> None:
    """A connection of a program is refused by its rights, before any trigger."""
    program = await database.connect()
    try:
        assert await program.fetchval("SELECT current_user") == APP_ROLE
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await program.execute(change)
    finally:
        await program.close()


async def test_the_programs_role_holds_insert_and_select_only(connection: Connection) -> None:
    """All privileges that PostgreSQL knows for a table are asked for by name."""
    held = await connection.fetch(
        """
        SELECT privilege FROM unnest(ARRAY[
            'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'
        ]) AS privilege WHERE has_table_privilege($1, 'events', privilege)""",
        APP_ROLE,
    )
    assert {row[0] for row in held} == {"SELECT", "INSERT"}


async def test_a_pooled_connection_acts_as_the_programs_role(database: Database) -> None:
    """What a pool lends is no more powerful than a connection of one's own."""
    pool = await database.create_pool(1, 2)
    try:
        assert await pool.fetchval("SELECT current_user") == APP_ROLE
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute("DELETE FROM events")
    finally:
        await pool.close()


async def test_the_owner_is_still_there_for_those_who_need_it(database: Database) -> None:
    """A connection without the role is the login's own."""
    owner = await database.connect(role=False)
    try:
        assert await owner.fetchval("SELECT current_user = session_user")
    finally:
        await owner.close()
