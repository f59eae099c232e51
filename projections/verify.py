"""Verify a projection's table against the log, at one position, while everybody goes on.

One snapshot (REPEATABLE READ) shows both; the log is folded into a temporary table and the
digests of the two are compared; only when they differ, the rows. It changes nothing and no writer
waits for it.
"""

import time
from dataclasses import dataclass
from typing import Final

from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.projections import table
from reactorcide.projections.projection import Projection
from reactorcide.projections.rebuilds import EVERYTHING
from reactorcide.projections.replay import (
    Progress,
    Tally,
    count,
    replay,
    uncollected,
)
from reactorcide.projections.table import Difference

_REBUILT: Final = "reactorcide_rebuilt"
DIFFERENCES_NAMED: Final = 100


@dataclass(frozen=True, slots=True)
class Verified:
    """How a table compares with the log."""

    name: str
    rows: int
    """That the log makes, at `position`."""
    events: int
    position: int
    """Of the last event in the snapshot."""
    digest: str
    """Of the rows that the log makes."""
    differences: tuple[Difference, ...]
    """By key, at most DIFFERENCES_NAMED; none when the table is equal."""
    seconds: float


async def verify(database: Database, projection: Projection, progress: Progress) -> Verified:
    """Compare one table with the log.

    Raises CodecError, IllegalTransition and DatabaseError.
    """
    start = time.monotonic()
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            async with connection.transaction(isolation="repeatable_read"):
                events, position = await count(connection, projection)
                await table.run(connection, "create_temporary", projection, _REBUILT)
                with uncollected():
                    await _fold(connection, projection, Tally(events, progress))
                made = await table.digest(connection, projection, _REBUILT)
                live = await table.digest(connection, projection, projection.name)
                differences: tuple[Difference, ...] = ()
                if made != live:
                    differences = await table.differences(
                        connection, projection, _REBUILT, DIFFERENCES_NAMED
                    )
        finally:
            await connection.close()
    seconds = time.monotonic() - start
    return Verified(projection.name, made.rows, events, position, made.digest, differences, seconds)


async def _fold(connection: Connection, projection: Projection, tally: Tally) -> None:
    """Fold the whole log into the temporary table, by turns on the one connection that sees it."""
    async for rows in replay(connection, projection, EVERYTHING, tally.folded):
        await table.copy(connection, projection, _REBUILT, rows)
