"""Erases what an event tells, by the one function of the database that may.

The envelope stays, and the hash by which the log proves what the event was; nothing here knows
what of an event's data must stay.
"""

from typing import Final

from reactorcide.eventstore.database import Connection, Reader
from reactorcide.eventstore.record import RecordedEvent

_AT: Final = """
SELECT
    position, event_id, stream_type, stream_id, version, type, schema_version, data::text,
    actor_type, actor_id, token_id, host(ip) AS ip, user_agent, request_id, correlation_id,
    causation_id, recorded_at
FROM events WHERE position = $1"""
_ERASE: Final = "SELECT redact_event($1, $2::jsonb)"


async def event_at(connection: Reader, position: int) -> RecordedEvent | None:
    """Return the event at a position; None where there is none."""
    row = await connection.fetchrow(_AT, position)
    return None if row is None else RecordedEvent._make(row)


async def erase(connection: Connection, position: int, remains: str) -> bool:
    """Leave of an event's data what `remains` (JSON text) says, and nothing of its salt.

    In the transaction that has recorded `event.redacted`. False, and nothing is changed, for an
    event that is not sealed yet. What is more than the data, or other data, is refused.
    """
    is_sealed: bool = await connection.fetchval(_ERASE, position, remains)
    return is_sealed
