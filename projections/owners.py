"""Whose a stream is: the user that its first event names. Asked of the log; keeps no table."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Reader

# The owners of some streams. Jobs and tokens have one; users and workers name none.
_OWNERS: Final = """
SELECT stream_id, (data ->> 'user_id')::uuid
FROM events
WHERE stream_id = ANY ($1::uuid[]) AND version = 1 AND data ? 'user_id'"""


async def owners_of(connection: Reader, stream_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Return the owner of each of these streams, in one look; one without an owner has no key."""
    found = await connection.fetch(_OWNERS, list(stream_ids))
    return {row[0]: row[1] for row in found}
