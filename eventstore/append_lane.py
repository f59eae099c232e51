"""One connection that appends, opened again when it broke.

It runs the statements of `store`, one at a time, and raises our errors; which go together is said
by whoever hands them in.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import asyncpg

from reactorcide.eventstore import store
from reactorcide.eventstore.database import (
    Database,
    DatabaseUnavailable,
    StatementRefused,
    database_errors,
)
from reactorcide.eventstore.inline_rows import FreshRows, GuardedRows, Rows
from reactorcide.eventstore.record import (
    Append,
    AppendedToMany,
    AppendResult,
    AppendToMany,
    AppendToNew,
)

T = TypeVar("T")

_REPETITIONS: Final = 5
_CLOSE_SECONDS: Final = 5.0
# The driver asks the server once about each of these: 20 ms that the first command would wait.
_TYPES: Final = "SELECT $1::uuid[], $2::jsonb[], $3::timestamptz[], $4::inet, $5::text[], $6::int[]"


class AppendLane:
    """A connection of a writer's own. What it is given is written at once, or fails.

    All that append raise StatementRefused (nothing was written) and DatabaseUnavailable (it may
    have been). One that PostgreSQL refused to break a deadlock is written again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

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
        return self._connection

    async def append(self, appends: Sequence[Append], rows: Rows) -> list[AppendResult]:
        """Append to many streams, each by itself; see `store.append`."""
        return await self._write(lambda to: store.append(to, appends, rows))

    async def append_to_many(self, append: AppendToMany, rows: GuardedRows) -> AppendedToMany:
        """Append one event to each of many streams; see `store.append_to_many`."""
        return await self._write(lambda to: store.append_to_many(to, append, rows))

    async def append_to_new(self, append: AppendToNew, rows: FreshRows) -> datetime:
        """Begin many streams, all or none; see `store.append_to_new`."""
        return await self._write(lambda to: store.append_to_new(to, append, rows))

    async def _write(
        self, write: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]]
    ) -> T:
        for _ in range(_REPETITIONS - 1):
            try:
                return await self._write_once(write)
            except StatementRefused as error:
                if not error.is_transient:
                    raise
        return await self._write_once(write)

    async def _write_once(
        self, write: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]]
    ) -> T:
        connection = await self.connect()
        try:
            with database_errors():
                return await write(connection)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def disconnect(self) -> None:
        """Close the connection, politely unless that takes long."""
        if self._connection is None:
            return
        try:
            await self._connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
        self._connection = None
