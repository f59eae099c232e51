"""One connection of a program's own, opened again when it broke.

For who asks often, one thing after the other: to borrow a connection of a pool and to give it back
takes longer than a short statement.
"""

from typing import Any, Final

import asyncpg

from reactorcide.eventstore.database import Database, DatabaseUnavailable, database_errors

_CLOSE_SECONDS: Final = 5.0


class Lane:
    """A connection for short reads (see `Database.connect_reader`); one statement at a time."""

    def __init__(self, database: Database, answer_seconds: float) -> None:
        self._database = database
        self._answer_seconds = answer_seconds
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401  the driver's
        """Return the rows of a query. Raises DatabaseError, and the driver's cancellation."""
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._database.connect_reader(
                self._answer_seconds
            )
        try:
            with database_errors():
                return await connection.fetch(sql, *arguments)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
