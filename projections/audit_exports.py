"""The audit trail from its beginning on, page by page: for those who take all of it along.

A page is a statement of its own and holds no transaction, so that a reader may be as slow as it
likes; what lies between two positions never changes. Reads only.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from reactorcide.eventstore.database import Pool
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections.audit_events import AuditFilter, actor_of
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

EVENTS_EACH: Final = 500
BYTES_EACH: Final = 4 * 1024 * 1024
"""Of the events' data in a page, but for its last event, which has a megabyte at most."""


class Span(NamedTuple):
    """The positions behind `after` and up to `to`."""

    after: int
    to: int
    """No further than the trail's checkpoint: what lies before that is there for good."""


class Audited(NamedTuple):
    """An event as the trail has it."""

    event: RecordedEvent
    outcome: str
    """success, denied or refused."""


async def pages(pool: Pool, span: Span, wanted: AuditFilter) -> AsyncIterator[Sequence[Audited]]:
    """Yield what passes the filter, oldest first: at most EVENTS_EACH at a time, none empty."""
    after = span.after
    if wanted.since is not None:
        after = max(after, await pool.fetchval(SQL["before"], wanted.since))
    while after < span.to:
        found = await _page(pool, Span(after, span.to), wanted)
        if not found:
            return
        after = found[-1].event.position
        yield found


async def _page(pool: Pool, span: Span, wanted: AuditFilter) -> list[Audited]:
    async with pool.acquire() as connection:
        # Prepared for this once: so it is planned for its values, and needs no transaction, which
        # a client that goes away would leave open for a moment.
        statement = await connection.prepare(SQL["page"])
        found = await statement.fetch(
            *(*span, EVENTS_EACH, BYTES_EACH),
            *await actor_of(connection, wanted.actor),
            *(wanted.type, wanted.stream_id, wanted.stream_type, wanted.ip, wanted.request_id),
            *(wanted.outcome, wanted.since, wanted.until),
        )
    return [Audited(RecordedEvent._make(row[:-1]), row[-1]) for row in found]
