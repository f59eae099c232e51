"""What made something happen: the event that ended a job, for those who act upon it. Reads only.

In its own stream an event follows from the one before it; `causation_id` names what stands in
another.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Reader

# What a job said last, but for its deletion, and what everything about it belongs to.
_ENDS: Final = """
SELECT e.stream_id, e.event_id, e.position, f.correlation_id
FROM unnest($1::uuid[]) AS job (id)
CROSS JOIN LATERAL (
    SELECT stream_id, event_id, position FROM events
    WHERE stream_id = job.id AND type <> 'job.deleted' ORDER BY version DESC LIMIT 1
) AS e
JOIN events AS f ON f.stream_id = job.id AND f.version = 1"""


class Cause(NamedTuple):
    """An event that another follows from."""

    event_id: UUID
    position: int
    correlation_id: UUID | None
    """Of the request that began its stream."""


async def ends_of(read: Reader, job_ids: Iterable[UUID]) -> dict[UUID, Cause]:
    """Return the last event of each of these jobs; one that is not there has no key."""
    wanted = list(set(job_ids))
    if not wanted:
        return {}
    return {row[0]: Cause(*row[1:]) for row in await read.fetch(_ENDS, wanted)}
