"""What the Merkle tree has of each event: its leaf entry, and the salted hash of its data.

The entry is the canonical JSON of the envelope, with the hash of the data in place of the data:
data and salt can be thrown away, and the tree still holds. Events are read here as the log's
table has them, in text, and no type is looked at: an event that this version does not know has a
leaf as any other. Reads only.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from reactorcide.eventstore.canonical import canonical, canonical_text
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.record import new

SALT_BYTES: Final = 16

# In the order of the entry's keys, the data last.
_EVENTS: Final = """
SELECT
    actor_id, actor_type, causation_id, correlation_id, event_id, host(ip), position,
    to_json(recorded_at AT TIME ZONE 'UTC'), request_id, schema_version, stream_id, stream_type,
    token_id, type, user_agent, version, data
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"""

_NULL: Final = rb"\N"
# Behind the zero byte that RFC 6962 hashes before a leaf.
_HASHED: Final = (
    b'\0{"actor_id":%b,"actor_type":%b,"causation_id":%b,"correlation_id":%b,"event_id":"%b",'
    b'"ip":%b,"payload_hash":"%b","position":%b,"recorded_at":%b,"request_id":%b,'
    b'"schema_version":%b,"stream_id":"%b","stream_type":%b,"token_id":%b,"type":%b,'
    b'"user_agent":%b,"version":%b}'
)
# What COPY writes for characters that would end a column or a row (the manual's page of COPY).
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_AT_ONCE: Final = 200
_KEPT: Final = 4096
_KEPT_BYTES: Final = 512


class Leaf(NamedTuple):
    """An event's place in the tree."""

    position: int
    payload_hash: bytes
    leaf_hash: bytes


class UnreadableData(Exception):  # noqa: N818  named by what is so, like the rejections
    """The data of the event at `position` have no canonical form, so nothing can be hashed."""

    def __init__(self, position: int, wire_type: str, detail: str) -> None:
        super().__init__(f"event {wire_type} at position {position}: {detail}")
        self.position = position
        self.wire_type = wire_type


def payload_hash(salt: bytes, data: str) -> bytes:
    """Return the hash of an event's data (JSON text). Raises ValueError as `canonical_text`."""
    return sha256(salt + canonical_text(data)).digest()


def leaf_entry(envelope: Mapping[str, Any], payload: bytes) -> bytes:
    """Return the entry of an event whose fields are JSON values, by their names in the log.

    `recorded_at` is `recorded_at_text` of the time; what else is in `envelope` is passed over.
    """
    fields = {name: envelope[name] for name in ENVELOPE}
    return canonical({**fields, "payload_hash": payload.hex()})


def recorded_at_text(text: str) -> str:
    """Return a time in UTC as entries have it, from ISO 8601 without offset."""
    seconds, _, fraction = text.replace(" ", "T").partition(".")
    return f"{seconds}.{fraction:0<6}Z"


ENVELOPE: Final = (
    "actor_id",
    "actor_type",
    "causation_id",
    "correlation_id",
    "event_id",
    "ip",
    "position",
    "recorded_at",
    "request_id",
    "schema_version",
    "stream_id",
    "stream_type",
    "token_id",
    "type",
    "user_agent",
    "version",
)
"""The fields of an entry beside the hash of the data."""


class RawEvent(NamedTuple):
    """An event as COPY writes it: all text, with COPY's escapes, and its mark for NULL."""

    actor_id: bytes
    actor_type: bytes
    causation_id: bytes
    correlation_id: bytes
    event_id: bytes
    ip: bytes
    position: bytes
    recorded_at: bytes
    """JSON text, ISO 8601 in UTC."""
    request_id: bytes
    schema_version: bytes
    stream_id: bytes
    stream_type: bytes
    token_id: bytes
    type: bytes
    user_agent: bytes
    version: bytes
    data: bytes

    def payload_hash(self, salt: bytes) -> bytes:
        """Return the salted hash of the data. Raises UnreadableData."""
        try:
            return sha256(salt + _canonical_data(self.data)).digest()
        except (ValueError, RecursionError) as error:
            raise UnreadableData(int(self.position), self.type.decode(), str(error)) from None

    def entry(self, payload: bytes) -> bytes:
        """Return the entry, given the hash of the data."""
        return self._hashed(payload)[1:]

    def _hashed(self, payload: bytes) -> bytes:
        """Return what the leaf's hash is of."""
        (
            actor_id, actor_type, causation_id, correlation_id, event_id, ip, position,
            recorded_at, request_id, schema_version, stream_id, stream_type, token_id, kind,
            user_agent, version, _,
        ) = self  # fmt: skip
        return _HASHED % (
            b"null" if actor_id == _NULL else b'"%b"' % actor_id,
            _quoted[actor_type],
            b"null" if causation_id == _NULL else b'"%b"' % causation_id,
            b"null" if correlation_id == _NULL else b'"%b"' % correlation_id,
            event_id,
            _quoted[ip],
            payload.hex().encode(),
            position,
            _times[recorded_at],
            _quoted[request_id],
            schema_version,
            stream_id,
            _quoted[stream_type],
            b"null" if token_id == _NULL else b'"%b"' % token_id,
            _quoted[kind],
            _quoted[user_agent],
            version,
        )

    def leaf(self, salt: bytes) -> Leaf:
        """Return its place in the tree. Raises UnreadableData."""
        payload = self.payload_hash(salt)
        return new(Leaf, (int(self.position), payload, sha256(self._hashed(payload)).digest()))


class Stretch(NamedTuple):
    """Which events: behind one position, up to another (included), so many at most."""

    after: int
    until: int
    limit: int


async def read_raw(
    connection: Connection, stretch: Stretch, take: Callable[[list[RawEvent]], None]
) -> None:
    """Hand on the events of a stretch by position, a few at a time, while they arrive.

    Other tasks have their turn in between.
    """

    async def take_rows(chunk: bytes) -> None:
        # The server sends a message for each row, and the driver joins whole messages.
        rows = bytes(chunk).split(b"\n")
        rows.pop()
        for begin in range(0, len(rows), _AT_ONCE):
            take([new(RawEvent, row.split(b"\t")) for row in rows[begin : begin + _AT_ONCE]])
            await asyncio.sleep(0)

    await connection.copy_from_query(_EVENTS, *stretch, output=take_rows)


def _canonical_data(data: bytes) -> bytes:
    known = _canonicals.get(data)
    if known is not None:
        return known
    # JSON has no raw control characters: what COPY escapes in it is the backslash alone.
    made = canonical_text(data.replace(b"\\\\", b"\\").decode())
    if len(data) <= _KEPT_BYTES:
        if len(_canonicals) >= _KEPT:
            _canonicals.clear()
        _canonicals[data] = made
    return made


class _Kept(dict[bytes, bytes]):
    """What was made of a column's text, as long as there is room."""

    def __init__(self, make: Callable[[bytes], bytes]) -> None:
        self._make = make

    def __missing__(self, text: bytes) -> bytes:
        if len(self) >= _KEPT:
            self.clear()
        made = self[text] = self._make(text)
        return made


def _json_text(text: bytes) -> bytes:
    if text == _NULL:
        return b"null"
    return canonical(_unescaped(text.decode()))


def _unescaped(text: str) -> str:
    """Return the text that COPY wrote."""
    first, *rest = text.split("\\\\")
    return "\\".join([_without_escapes(part) for part in (first, *rest)])


def _without_escapes(text: str) -> str:
    first, *rest = text.split("\\")
    return first + "".join(_ESCAPES[part[0]] + part[1:] for part in rest)


def _time_text(text: bytes) -> bytes:
    return b'"%b"' % recorded_at_text(json.loads(text)).encode()


_canonicals: Final[dict[bytes, bytes]] = {}
_quoted: Final = _Kept(_json_text)
_times: Final = _Kept(_time_text)
