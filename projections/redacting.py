"""Brings the read tables in line with an event that was redacted: no copy of it stays in a row.

What asynchronous projections keep of an event is its envelope, which stays.
"""

from uuid import UUID

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.record import StreamType
from reactorcide.projections import table
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.replay import replay_one


async def redact_rows(connection: Connection, stream_type: StreamType, stream_id: UUID) -> None:
    """Make the row of a stream anew from its events, in the caller's READ COMMITTED transaction."""
    for projection in REGISTRY:
        if projection.stream_type != stream_type:
            continue
        version = 0
        row = await replay_one(connection, projection, stream_id)
        # Somebody may append at the same time; without a row there is nothing to be erased.
        while row is not None and row[1] > version:
            if await table.revise(connection, projection, row):
                break
            version = row[1]
            row = await replay_one(connection, projection, stream_id)
