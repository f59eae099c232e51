"""One connection of a program's own, opened again when it broke.

For who asks often, one thing after the other: to borrow a connection of a pool and to give it back
takes longer than a short statement.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from reactorcide.eventstore.database import (
    Connection,
    Database,
    DatabaseUnavailable,
    database_errors,
)

T = TypeVar("T")

_CLOSE_SECONDS: Final = 5.0


class Lane:
    """A connection that appends (see `Database.connect_writer`); one statement at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something with the connection. Raises DatabaseError and what `work` raises."""
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._database.connect_writer()
        try:
            with database_errors():
                return await work(connection)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401  the driver's
        """Return the rows of a query. Raises DatabaseError."""
        return await self.run(lambda connection: connection.fetch(sql, *arguments))

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
