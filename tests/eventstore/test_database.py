"""Connections act as they should, and every error of the driver has one of ours."""

import asyncio

import asyncpg
import pytest

from reactorcide.eventstore.database import (
    WRITER,
    Database,
    DatabaseError,
    DatabaseUnavailable,
    SchemaMismatch,
    StatementRefused,
    database_errors,
    our_error,
)
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (asyncpg.ConnectionDoesNotExistError("gone"), DatabaseUnavailable),
        (asyncpg.AdminShutdownError("terminated"), DatabaseUnavailable),
        (asyncpg.CannotConnectNowError("starting up"), DatabaseUnavailable),
        (asyncpg.TooManyConnectionsError("full"), DatabaseUnavailable),
        (asyncpg.InvalidPasswordError("no"), DatabaseUnavailable),
        (asyncpg.InvalidCatalogNameError("no such database"), DatabaseUnavailable),
        (asyncpg.InterfaceError("connection is closed"), DatabaseUnavailable),
        (ConnectionRefusedError("refused"), DatabaseUnavailable),
        (TimeoutError(), DatabaseUnavailable),
        (asyncpg.UndefinedTableError("jobs"), SchemaMismatch),
        (asyncpg.UndefinedColumnError("colour"), SchemaMismatch),
        (asyncpg.UndefinedFunctionError("f"), SchemaMismatch),
        (asyncpg.UniqueViolationError("twice"), StatementRefused),
        (asyncpg.UntranslatableCharacterError("nul"), StatementRefused),
        (asyncpg.DeadlockDetectedError("ring"), StatementRefused),
        (asyncpg.InsufficientPrivilegeError("no"), StatementRefused),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_what_the_driver_raises_becomes_ours(raised: Exception, ours: type[DatabaseError]) -> None:
    """Gone, not as expected, or refused: three things to do about it."""
    with pytest.raises(ours) as caught, database_errors():
        raise raised
    assert caught.value.__cause__ is raised
    assert caught.value.detail


@pytest.mark.parametrize("raised", [ValueError("x"), asyncio.CancelledError(), KeyError("k")])
def test_what_is_not_the_databases_is_left_alone(raised: BaseException) -> None:
    """A defect stays a defect, a cancellation a cancellation."""
    with pytest.raises(type(raised)) as caught, database_errors():
        raise raised
    assert caught.value is raised


def test_our_own_errors_pass_through() -> None:
    """Translating twice changes nothing."""
    ours = DatabaseUnavailable("gone")
    assert our_error(ours) is ours
    with pytest.raises(DatabaseUnavailable) as caught, database_errors():
        raise ours
    assert caught.value is ours


async def test_a_violated_constraint_is_named(connection: Connection) -> None:
    """Whoever knows the constraint knows what to tell its caller."""
    insert = "INSERT INTO worker_beats VALUES ('01a20559-12a1-7798-a572-fa823367e201', now())"
    await connection.execute(insert)
    with pytest.raises(StatementRefused) as caught, database_errors():
        await connection.execute(insert)
    assert (caught.value.sqlstate, caught.value.constraint) == ("23505", "worker_beats_pkey")
    assert not caught.value.is_transient


@pytest.mark.parametrize(
    "uri",
    ["postgresql://nobody@127.0.0.1:1/nowhere", "postgresql:///nowhere?host=/no/such/folder"],
)
async def test_a_server_that_is_not_there_is_unavailable(uri: str) -> None:
    """Connection and pool say the same."""
    with pytest.raises(DatabaseUnavailable):
        await Database(uri).connect()
    with pytest.raises(DatabaseUnavailable):
        await Database(uri).create_pool()


async def test_a_database_that_is_not_there_is_unavailable(database_uri: str) -> None:
    """The server answers, the database does not exist."""
    with pytest.raises(DatabaseUnavailable, match="absent"):
        await Database(database_uri.replace("test_", "absent_test_")).connect()


async def test_a_writer_plans_once_and_by_index(database: Database) -> None:
    """The settings of a connection for appends are in force."""
    writer = await database.connect_writer()
    try:
        for name, value in WRITER.items():
            assert await writer.fetchval("SELECT current_setting($1)", name) == value
    finally:
        await writer.close()


async def test_a_pooled_connection_comes_back_without_a_query(
    database: Database, connection: Connection
) -> None:
    """The driver's reset query is not sent; an open transaction is rolled back all the same."""
    pool = await database.create_pool(1, 1)
    try:
        async with pool.acquire() as lent:
            pid = lent.get_server_pid()
            await lent.execute("SELECT 'last words'")
        last = "SELECT query FROM pg_stat_activity WHERE pid = $1"

        async def is_idle() -> bool:
            return bool(await connection.fetchval(last, pid) == "SELECT 'last words'")

        await until(is_idle)
        async with pool.acquire() as lent:
            await lent.execute("BEGIN")
        async with pool.acquire() as lent:
            assert not lent.is_in_transaction()
    finally:
        await pool.close()


async def test_a_login_that_may_not_take_the_role_acts_as_itself(
    database_uri: str, connection: Connection
) -> None:
    """Where the role can't be taken the program runs all the same."""
    login = await connection.fetchval("SELECT 'plain_' || md5(current_database())")
    await connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'p'")
    try:
        user, _, rest = database_uri.removeprefix("postgresql://").partition("@")
        assert user
        plain = await Database(f"postgresql://{login}:p@{rest}").connect()
        assert await plain.fetchval("SELECT current_user") == login
        await plain.close()
    finally:
        await connection.execute(f"DROP ROLE {login}")
