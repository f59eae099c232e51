"""Whether what was redacted may be so: the log says it, and the remains are those that it says.

A redacted event has lost its salt and most of its data, so its payload hash can't be checked any
more; its leaf still can. `event.redacted`, which comes later, has the hash of what is left.
"""

import json
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.canonical import canonical_text
from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.domain import redaction
from reactorcide.eventstore.leaves import SALT_BYTES, RawEvent
from reactorcide.eventstore.proof.findings import Finding, Wrong, first

NO_SALT: Final = bytes(SALT_BYTES)

_TYPE: Final = b"event.redacted"
_STREAM_TYPE: Final = b"redaction"


class _Seen(NamedTuple):
    """An event whose salt is gone, and what is left of it."""

    position: int
    stream_type: str
    stream_id: str
    remaining_hash: str
    is_lawful: bool
    """It tells no more than a redaction leaves."""


class _Told(NamedTuple):
    """What an `event.redacted` says."""

    position: int
    redacted_position: object
    remaining_hash: object


class Redactions:
    """Remembers the redacted events, which are few, and what the log says of redactions."""

    def __init__(self) -> None:
        self._seen: dict[bytes, _Seen] = {}
        self._told: dict[bytes, _Told] = {}

    def saw(self, event: RawEvent, remains: bytes) -> None:
        """Note an event without salt; `remains` are its data in canonical form."""
        self._seen[event.event_id] = _Seen(
            int(event.position),
            event.stream_type.decode(),
            event.stream_id.decode(),
            sha256(remains).hexdigest(),
            _is_lawful(event, json.loads(remains)),
        )

    def note(self, event: RawEvent) -> None:
        """Note an event, if it tells of a redaction."""
        if event.type != _TYPE or event.stream_type != _STREAM_TYPE:
            return
        data = json.loads(data_text(event))
        self._told.setdefault(
            event.stream_id,
            _Told(int(event.position), data.get("position"), data.get("remaining_hash")),
        )

    def settle(self) -> Finding | None:
        """Return the first redacted event that the log does not say was redacted so."""
        return first(*(self._judged(event_id, seen) for event_id, seen in self._seen.items()))

    def _judged(self, event_id: bytes, seen: _Seen) -> Finding | None:
        told = self._told.get(event_id)
        if told is None:
            detail = "its salt is gone, and no event.redacted says why"
        elif told.redacted_position != seen.position or told.position <= seen.position:
            detail = f"the event.redacted at position {told.position} is about another position"
        elif told.remaining_hash != seen.remaining_hash:
            detail = f"what is left is not what the event.redacted at position {told.position} says"
        elif not seen.is_lawful:
            detail = "what is left is not what a redaction leaves"
        else:
            return None
        return Finding(
            Wrong.FORGED_REDACTION, seen.position, detail, seen.stream_type, seen.stream_id
        )


def _is_lawful(event: RawEvent, data: dict[str, object]) -> bool:
    """Whether a redaction would leave this; of a type that is not known here anything."""
    event_type = EVENT_TYPES.get(event.type.decode())
    if event_type is None:
        return True
    return redaction.remains(event_type, data, UUID(event.stream_id.decode())) == data


def data_text(event: RawEvent) -> str:
    """Return an event's data as JSON text."""
    return event.data.replace(b"\\\\", b"\\").decode()


def canonical_data(event: RawEvent) -> bytes:
    """Return an event's data in canonical form. Raises ValueError."""
    return canonical_text(data_text(event))
