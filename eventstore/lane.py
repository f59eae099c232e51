"""One connection of a program's own, opened again when it broke.

For who asks often, one thing after the other: to borrow a connection of a pool and to give it back
takes longer than a short statement.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from reactorcide.eventstore.database import (
    Connection,
    Database,
    DatabaseUnavailable,
    database_errors,
)

T = TypeVar("T")

_CLOSE_SECONDS: Final = 5.0
# The driver asks the server once about each of these: 20 ms that the first command would wait.
_TYPES: Final = "SELECT $1::uuid[], $2::jsonb[], $3::timestamptz[], $4::inet, $5::text[], $6::int[]"


class Lane:
    """A connection that appends (see `Database.connect_writer`); one statement at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._kept: dict[str, PreparedStatement[asyncpg.Record]] = {}

    @property
    def is_up(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return the connection, a new one if there is none. Raises DatabaseUnavailable."""
        if self._connection is None or self._connection.is_closed():
            connection = await self._database.connect_writer()
            try:
                with database_errors():
                    await connection.prepare(_TYPES)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
            self._kept.clear()
        return self._connection

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something with the connection. Raises DatabaseError and what `work` raises."""
        connection = await self.connect()
        try:
            with database_errors():
                return await work(connection)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401  the driver's
        """Return the rows of a query. Raises DatabaseError."""
        return await self.run(lambda connection: connection.fetch(sql, *arguments))

    async def fetch_kept(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401  the driver's
        """Return the rows of a query that is asked again and again, prepared once."""
        connection = await self.connect()
        try:
            with database_errors():
                if (kept := self._kept.get(sql)) is None:
                    kept = self._kept[sql] = await connection.prepare(sql)
                return await kept.fetch(*arguments)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def close(self) -> None:
        """Close the connection, politely unless that takes long. May be repeated."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
