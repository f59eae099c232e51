"""How a program reaches PostgreSQL: connections, the role they act as, errors that are ours.

The one place that turns what the driver raises into:

    DatabaseError
    ├── DatabaseUnavailable  not reachable, refused the login, or the connection was lost
    ├── SchemaMismatch       a table, column or function is not as this program expects
    └── StatementRefused     PostgreSQL refused this statement (data, constraint, deadlock)

It knows no table and runs no query of anybody's.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import asyncpg

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Reader: TypeAlias = "Connection | Pool"

APP_ROLE: Final = "reactorcide_app"

WRITER: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Settings of a connection that appends: every look-up by index, planned once."""

READER: Final = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
"""Settings of a pooled connection: what is read is walked in the order of an index.

A plan that is made once must be right for the owner of ten jobs and for that of ten million.
"""

_CONNECT_SECONDS: Final = 10.0

# Whether this login may act as the role. From 16 on being a member is not enough to do so.
_MAY_ACT_AS: Final = """
SELECT pg_has_role(
    oid, CASE WHEN current_setting('server_version_num')::int >= 160000
    THEN 'SET' ELSE 'MEMBER' END)
FROM pg_roles WHERE rolname = $1"""


class DatabaseError(Exception):
    """The database did not do what was asked."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class DatabaseUnavailable(DatabaseError):  # noqa: N818  named by what is so, like the rejections
    """PostgreSQL can't be reached, or the connection broke.

    A statement under way may or may not have been committed.
    """


class SchemaMismatch(DatabaseError):  # noqa: N818  as above
    """The schema is older or newer than this program."""


class StatementRefused(DatabaseError):  # noqa: N818  as above
    """PostgreSQL refused a statement, and nothing of it was written.

    `constraint` is the name of the violated one, if any.
    """

    def __init__(self, detail: str, sqlstate: str, constraint: str | None) -> None:
        super().__init__(detail)
        self.sqlstate = sqlstate
        self.constraint = constraint

    @property
    def is_transient(self) -> bool:
        """Whether the same statement may succeed when repeated: deadlock, serialization."""
        return self.sqlstate in {"40001", "40P01", "55P03"}


def our_error(error: BaseException) -> DatabaseError | None:
    """Return our error for what the driver or the network raised; None if it is neither's."""
    match error:
        case DatabaseError():
            return error
        case asyncpg.PostgresError(sqlstate="42P01" | "42703" | "42883" | "3F000"):
            return SchemaMismatch(_text(error))
        case asyncpg.PostgresError() if _is_lost(error.sqlstate):
            return DatabaseUnavailable(_text(error))
        case asyncpg.PostgresError():
            constraint = getattr(error, "constraint_name", None)
            return StatementRefused(_text(error), error.sqlstate or "", constraint)
        case OSError() | TimeoutError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return DatabaseUnavailable(_text(error))
        case _:
            return None


def _is_lost(sqlstate: str | None) -> bool:
    """Say whether a code means "no database for you": see appendix A of PostgreSQL's manual.

    08 connection, 25006 read-only (a primary that is one no more), 28 authorization, 3D no such
    database, 53 out of resources, 57P shutdown, 58 system error, XX internal error.
    """
    lost = ("08", "25006", "28", "3D", "53", "57P", "58", "XX")
    return sqlstate is None or sqlstate.startswith(lost)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise our errors for the driver's and the network's, inside of this block."""
    try:
        yield
    except asyncio.CancelledError:
        raise
    except Exception as error:
        ours = our_error(error)
        if ours is None or ours is error:
            raise
        raise ours from error


class Database:
    """One database, by its URI. Holds no connection; makes them.

    Connections act as `reactorcide_app` where the login may: it can add to the log but not
    change it. Where it may not (a login that could make no roles) they act as the login.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._role: dict[str, str] | None = None
        self._asking = asyncio.Lock()

    async def connect(
        self, *, role: bool = True, **server_settings: str
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection of the caller's own. Raises DatabaseUnavailable."""
        acting_as = await self._acting_as() if role else {}
        with database_errors():
            return await asyncpg.connect(
                self.uri,
                timeout=_CONNECT_SECONDS,
                server_settings={"application_name": "reactorcide", **acting_as, **server_settings},
            )

    async def connect_writer(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection for appends (see WRITER). Raises DatabaseUnavailable."""
        return await self.connect(role=True, **WRITER)

    async def create_pool(
        self, min_size: int = 1, max_size: int = 10, **server_settings: str
    ) -> Pool:
        """Open a pool for short reads (see READER). Raises DatabaseUnavailable.

        `server_settings` are added to those of a reader. Connections come back without the
        driver's reset query, which costs a third of a short read: who changes a session's state
        must put it back. An open transaction is rolled back all the same.
        """
        acting_as = await self._acting_as()
        with database_errors():
            return await asyncpg.create_pool(
                self.uri,
                min_size=min_size,
                max_size=max_size,
                reset=_leave_as_it_is,
                timeout=_CONNECT_SECONDS,
                server_settings={
                    "application_name": "reactorcide",
                    **READER,
                    **acting_as,
                    **server_settings,
                },
            )

    async def _acting_as(self) -> dict[str, str]:
        """Return the setting that makes a session act as the role; asked once."""
        async with self._asking:
            if self._role is None:
                with database_errors():
                    connection = await asyncpg.connect(self.uri, timeout=_CONNECT_SECONDS)
                    try:
                        may = await connection.fetchval(_MAY_ACT_AS, APP_ROLE)
                    finally:
                        await connection.close()
                self._role = {"role": APP_ROLE} if may else {}
        return self._role


async def _leave_as_it_is(_connection: Connection) -> None:
    """Reset nothing when a pooled connection comes back."""
