"""How a program reaches PostgreSQL: connections, the role they act as, errors that are ours.

The one place that turns what the driver raises into:

    DatabaseError
    ├── DatabaseUnavailable  not reachable, refused the login, or the connection was lost
    ├── SchemaMismatch       a table, column or function is not as this program expects
    └── StatementRefused     PostgreSQL refused this statement (data, constraint, deadlock)

It knows no table and runs no query of anybody's.
"""

import asyncio
from types import TracebackType
from typing import Final, TypeAlias

import asyncpg

from reactorcide.eventstore.brief_pool import BriefPool
from reactorcide.eventstore.hearing import HearingConnection

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Reader: TypeAlias = "Connection | Pool"

APP_ROLE: Final = "reactorcide_app"

PLANNED_ONCE: Final = {"plan_cache_mode": "force_generic_plan"}
"""Where to plan takes longer than to look, and comes to the same plan each time."""

WRITER: Final = {
    **PLANNED_ONCE,
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "jit": "off",
}
"""Settings of a connection that appends: every look-up by index, planned once.

Not materialized either: a table that looks small is walked through for each row of an append.
"""

READER: Final = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
"""Settings of a pooled connection: what is read is walked in the order of an index.

A plan that is made once must be right for the owner of ten jobs and for that of ten million.
"""

READ_SECONDS: Final = 30.0
"""A statement of a pool that has no answer by then has failed."""

WRITE_SECONDS: Final = 15.0
"""The same of a connection that appends."""

_CONNECT_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 300.0
_STATEMENTS: Final = 50_000
"""After so many a pooled connection is made anew, and what its session has piled up goes."""

# A program whose machine is gone leaves locks behind: the server is to notice before the
# kernel's two hours. Nothing of it is set on a socket of the same machine.
_GONE: Final = {
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

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


class _Ours:
    """See database_errors."""

    def __enter__(self) -> None:
        """Watch for errors."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise ours instead."""
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        ours = our_error(error)
        if ours is not None and ours is not error:
            raise ours from error


_ours: Final = _Ours()


def database_errors() -> _Ours:
    """Raise our errors for the driver's and the network's, inside of this `with` block."""
    return _ours


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
        self, *, role: bool = True, answer_seconds: float | None = None, **server_settings: str
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection of the caller's own. Raises DatabaseUnavailable.

        `answer_seconds`: a statement fails with TimeoutError after so long; None: some work takes
        its time. The connection is good for nothing then.
        """
        acting_as = await self._acting_as() if role else {}
        return await self._open(asyncpg.Connection, answer_seconds, acting_as | server_settings)

    async def connect_to_hear(self, **server_settings: str) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection whose listeners are called at once. Raises DatabaseUnavailable."""
        settings = await self._acting_as() | server_settings
        return await self._open(HearingConnection, None, settings)

    async def _open(
        self,
        kind: "type[asyncpg.Connection[asyncpg.Record]]",
        answer_seconds: float | None,
        server_settings: dict[str, str],
    ) -> "asyncpg.Connection[asyncpg.Record]":
        with database_errors():
            return await asyncpg.connect(
                self.uri,
                timeout=_CONNECT_SECONDS,
                command_timeout=answer_seconds,
                connection_class=kind,
                server_settings={"application_name": "reactorcide", **server_settings},
            )

    async def connect_writer(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection for appends (see WRITER). Raises DatabaseUnavailable."""
        settings = {**_GONE, **WRITER}
        return await self.connect(role=True, answer_seconds=WRITE_SECONDS, **settings)

    async def create_pool(
        self,
        min_size: int = 1,
        max_size: int = 10,
        answer_seconds: float | None = None,
        **server_settings: str,
    ) -> Pool:
        """Open a pool for short reads (see READER). Raises DatabaseUnavailable.

        A statement without an answer fails after `answer_seconds` (READ_SECONDS).

        `server_settings` are added to those of a reader. Connections come back without the
        driver's reset query, which costs a third of a short read: who changes a session's state
        must put it back. An open transaction is rolled back all the same.
        """
        acting_as = await self._acting_as()
        with database_errors():
            return await BriefPool(
                self.uri,
                min_size=min_size,
                max_size=max_size,
                max_queries=_STATEMENTS,
                max_inactive_connection_lifetime=_IDLE_SECONDS,
                reset=_leave_as_it_is,
                loop=asyncio.get_running_loop(),
                connection_class=asyncpg.Connection,
                record_class=asyncpg.Record,
                timeout=_CONNECT_SECONDS,
                command_timeout=answer_seconds or READ_SECONDS,
                server_settings={
                    "application_name": "reactorcide",
                    **_GONE,
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
