"""Which streams have ended, kind by kind: what an archive may take, and what it leaves behind.

Users, and what the log says of itself (redactions, archive objects, rebuilds), stay: a name stays
taken and the rest is what the proof needs. Each statement is its table's.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Connection, Reader
from reactorcide.eventstore.record import StreamType
from reactorcide.projections import audit_events, jobs, tokens, workers

_PAGE: Final = 5000
_COUNT_PART: Final = "SELECT count(*), coalesce(sum(version), 0) FROM (%s) AS found"
_FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Ending:
    """How streams of one kind end."""

    stream_type: StreamType
    ended: str
    """Selects id and version of those that ended before time $1, of which no event lies behind
    position $2, and whose id is behind $3; by id, $4 at most (NULL: all)."""
    drop: str | None
    """Deletes the rows of the streams $1; None where only the audit trail has any."""


ENDINGS: Final = (
    Ending("job", jobs.SQL["ended"], jobs.SQL["drop"]),
    Ending("token", tokens.ENDED, tokens.DROP),
    Ending("worker", workers.ENDED, workers.DROP),
    Ending("access", audit_events.SQL["ended_access"], None),
)
KINDS: Final = frozenset(ending.stream_type for ending in ENDINGS)


async def count(connection: Reader, before: datetime, settled: int) -> tuple[int, int]:
    """Return how many streams an archive may take, and how many events they have."""
    streams = events = 0
    for ending in ENDINGS:
        found = await connection.fetchrow(_COUNT_PART % ending.ended, before, settled, _FIRST, None)
        assert found is not None  # noqa: S101  an aggregate always has a row
        streams, events = streams + found[0], events + found[1]
    return streams, events


async def ended(
    connection: Connection, before: datetime, settled: int
) -> AsyncIterator[list[UUID]]:
    """Yield the streams that an archive may take, by their ids, thousands of a kind at a time."""
    for ending in ENDINGS:
        after = _FIRST
        while found := await connection.fetch(ending.ended, before, settled, after, _PAGE):
            after = found[-1][0]
            yield [row[0] for row in found]


async def drop(connection: Connection, stream_ids: Sequence[UUID]) -> None:
    """Drop the rows of streams that leave the log, of whatever kind they are."""
    for ending in ENDINGS:
        if ending.drop is not None:
            await connection.execute(ending.drop, stream_ids)
