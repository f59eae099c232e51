"""How an archive object says what was in the log: a line of JSON for each event.

A line has the envelope as the tree's leaf has it, the data, and what it takes to prove both: leaf
index, salt and payload hash. So the payload hash, the leaf, and its inclusion under any signed
checkpoint can be computed from an object and the tree's tiles alone. Opens nothing.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.leaves import (
    ENVELOPE,
    SALT_BYTES,
    leaf_entry,
    payload_hash,
    recorded_at_text,
)
from reactorcide.eventstore.merkle import leaf_hash
from reactorcide.eventstore.record import RecordedEvent

_NO_SALT: Final = bytes(SALT_BYTES)
_IDS: Final = ("event_id", "stream_id", "actor_id", "token_id", "correlation_id", "causation_id")


class Sealed(NamedTuple):
    """What the tree has of an event, and its salt: zeros once it is redacted."""

    leaf_index: int
    salt: bytes
    payload_hash: bytes
    leaf_hash: bytes

    @property
    def has_salt(self) -> bool:
        """Whether it is not redacted."""
        return self.salt != _NO_SALT


class NotAsSealed(Exception):  # noqa: N818  named by what is so, like the rejections
    """The event at `position` is not what was sealed."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the event at position {position} is not what was sealed")
        self.position = position


def line_of(event: RecordedEvent, sealed: Sealed) -> bytes:
    """Return the line of an event. Raises NotAsSealed."""
    envelope = _envelope(event)
    if sealed.has_salt and payload_hash(sealed.salt, event.data) != sealed.payload_hash:
        raise NotAsSealed(event.position)
    if leaf_hash(leaf_entry(envelope, sealed.payload_hash)) != sealed.leaf_hash:
        raise NotAsSealed(event.position)
    proof = {
        "leaf_index": sealed.leaf_index,
        "salt": sealed.salt.hex(),
        "payload_hash": sealed.payload_hash.hex(),
    }
    return _line(envelope | proof, event.data)


def redacted_line(line: bytes, remains: str) -> bytes:
    """Return a line without salt, and with data of which only `remains` (JSON text) is left."""
    told = json.loads(line)
    del told["data"]
    return _line(told | {"salt": _NO_SALT.hex()}, remains)


def is_redacted(line: bytes) -> bool:
    """Tell whether a line has lost its salt."""
    return bytes.fromhex(json.loads(line)["salt"]) == _NO_SALT


def check_line(told: Mapping[str, Any], sealed: Sealed) -> None:
    """Hold a line against what the tree has at its position. Raises NotAsSealed."""
    payload, salt = bytes.fromhex(told["payload_hash"]), bytes.fromhex(told["salt"])
    data = json.dumps(told["data"], ensure_ascii=False)
    is_sealed = (
        (told["leaf_index"], payload) == (sealed.leaf_index, sealed.payload_hash)
        and (salt == _NO_SALT == sealed.salt or payload_hash(salt, data) == payload)
        and leaf_hash(leaf_entry(told, payload)) == sealed.leaf_hash
    )
    if not is_sealed:
        raise NotAsSealed(told["position"])


def events_of(lines: bytes, stream_id: UUID) -> list[RecordedEvent]:
    """Return the events of one stream among lines, in the order of their versions."""
    told = (json.loads(line) for line in lines.splitlines())
    found = [one for one in told if one["stream_id"] == str(stream_id)]
    return [_event_of(one) for one in sorted(found, key=lambda one: one["version"])]


def _line(head: Mapping[str, Any], data: str) -> bytes:
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return f'{text[:-1]},"data":{data}}}\n'.encode()


def event_of(line: bytes) -> RecordedEvent:
    """Return the event of a line."""
    return _event_of(json.loads(line))


def _envelope(event: RecordedEvent) -> dict[str, Any]:
    """Return the envelope as JSON values."""
    fields = {name: _plain(getattr(event, name)) for name in ENVELOPE}
    at = event.recorded_at.astimezone(UTC).replace(tzinfo=None)
    return fields | {"recorded_at": recorded_at_text(at.isoformat())}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def _event_of(told: dict[str, Any]) -> RecordedEvent:
    fields: dict[str, Any] = {name: told[name] for name in ENVELOPE}
    for name in _IDS:
        fields[name] = None if fields[name] is None else UUID(fields[name])
    fields["recorded_at"] = datetime.fromisoformat(fields["recorded_at"])
    return RecordedEvent(**fields, data=json.dumps(told["data"], ensure_ascii=False))
