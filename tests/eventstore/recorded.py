"""Recorded events that no log holds."""

from datetime import UTC, datetime

from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import RecordedEvent


def a_recorded(wire_type: str, schema_version: int, data: str, position: int = 1) -> RecordedEvent:
    """Return an event as the log would give it back."""
    return RecordedEvent(
        position=position,
        event_id=new_id(),
        stream_type="job",
        stream_id=new_id(),
        version=1,
        type=wire_type,
        schema_version=schema_version,
        data=data,
        actor_type="system",
        actor_id=None,
        token_id=None,
        ip=None,
        user_agent=None,
        request_id=None,
        correlation_id=None,
        causation_id=None,
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
