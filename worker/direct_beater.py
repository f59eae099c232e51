"""Leases kept on PostgreSQL, on a connection that nothing else uses."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Database, database_errors
from reactorcide.projections import leases
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.direct_errors import our_errors

_CLOSE_SECONDS: Final = 2.0


class DirectBeater:
    """One worker's beats; see Beater. Belongs to the event loop that it is first used in."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        lease_seconds: float,
        know: Callable[[int, int], None],
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._know = know
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def beat(self, keys: Sequence[AttemptKey]) -> Mapping[AttemptKey, int | None]:
        """Renew leases by the database's clock, in one statement.

        A connection that did not answer is given up, also when nobody waited for the answer.
        """
        with our_errors(), database_errors():
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._database.connect_writer()
            try:
                beaten = await leases.beat(
                    self._connection, self._worker_id, keys, self._lease_seconds
                )
            except BaseException:
                self._connection.terminate()
                raise
        self._know(beaten.rank, beaten.alive)
        return {AttemptKey(*key): grace_seconds for key, grace_seconds in beaten.held.items()}

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is None:
            return
        try:
            await self._connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()


@asynccontextmanager
async def open_beater(
    database: Database, worker_id: UUID, lease_seconds: float, know: Callable[[int, int], None]
) -> AsyncIterator[DirectBeater]:
    """Lend a beater; it connects when it is first used, and again when the connection broke.

    `know` is told, from the beater's thread, which of how many living workers this one is.
    """
    # A Database asks once for the role it acts as, in one event loop: this is another one.
    beater = DirectBeater(Database(database.uri), worker_id, lease_seconds, know)
    try:
        yield beater
    finally:
        await beater.close()
