"""Rebuild and verify for projections that follow the log: as of their checkpoint.

Readers and the writers of the log go on meanwhile; the runner waits for a rebuild's end.
"""

import time

from reactorcide.eventstore.database import Database, database_errors
from reactorcide.projections.rebuild import Rebuilt
from reactorcide.projections.subscription import Subscription
from reactorcide.projections.verify import DIFFERENCES_NAMED, Verified


async def verify(database: Database, subscription: Subscription) -> Verified:
    """Compare a table with the log, in one snapshot. Raises DatabaseError."""
    start = time.monotonic()
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                found = await subscription.compare(connection, DIFFERENCES_NAMED)
        finally:
            await connection.close()
    return Verified(
        name=subscription.name,
        rows=found.made.rows,
        events=found.made.rows,
        position=found.position,
        digest=found.made.digest,
        differences=found.differences,
        seconds=time.monotonic() - start,
    )


async def rebuild(database: Database, subscription: Subscription) -> Rebuilt:
    """Make a table anew from the log, in one transaction: all of it or nothing.

    The old rows are dead afterwards, and the table as large as both until they are vacuumed and
    written over. Raises DatabaseError.
    """
    start = time.monotonic()
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            async with connection.transaction():
                found = await subscription.refill(connection)
        finally:
            await connection.close()
    return Rebuilt(
        name=subscription.name,
        rows=found.made.rows,
        events=found.made.rows,
        position=found.position,
        digest=found.made.digest,
        differed=found.made != found.live,
        seconds=time.monotonic() - start,
    )
