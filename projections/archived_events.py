"""Events that left the log for the object store, as the log had them: for whoever verifies it.

It believes nothing that it reads: whether an event is what was sealed is seen by its leaf.
"""

import gzip
import json
import zlib
from typing import Any, Final, NamedTuple

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.objects import ObjectMissing, ObjectStore

_REACHED: Final = """
SELECT object_key, last_position
FROM archived_objects WHERE last_position >= $1 AND first_position <= $2 ORDER BY first_position"""
_DATA: Final = b',"data":'
_NULL: Final = rb"\N"
# What COPY writes for characters that would end a column or a row.
_ESCAPES: Final = {"\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_ESCAPED: Final = str.maketrans({**_ESCAPES, "\v": r"\v"})


class _Held(NamedTuple):
    """An object that is read, as long as its positions are being walked through."""

    last_position: int
    events: list[RawEvent]
    """By position."""


class ArchivedEvents:
    """Reads objects as a walk through the log reaches them; keeps those that it is among."""

    def __init__(self, connection: Connection, objects: ObjectStore) -> None:
        self._connection = connection
        self._objects = objects
        self._held: dict[str, _Held] = {}

    async def merged(self, events: list[RawEvent], after: int, until: int) -> list[RawEvent]:
        """Return events of the log together with archived ones of the same stretch.

        `after` and `until` (included) ascend from call to call. Raises ObjectStoreError; an
        object that is gone or unreadable has no events.
        """
        archived = await self._between(after, until)
        return sorted([*events, *archived], key=_position) if archived else events

    async def _between(self, after: int, until: int) -> list[RawEvent]:
        found = await self._connection.fetch(_REACHED, after + 1, until)
        held = {}
        for key, last_position in found:
            known = self._held.get(key)
            held[key] = known or _Held(last_position, await self._read(key))
        self._held = held
        every = (event for one in held.values() for event in one.events)
        return [event for event in every if after < _position(event) <= until]

    async def _read(self, key: str) -> list[RawEvent]:
        try:
            lines = gzip.decompress(await self._objects.read(key)).splitlines()
            return sorted(map(_row_of, lines), key=_position)
        except (ObjectMissing, gzip.BadGzipFile, EOFError, zlib.error):
            return []
        except (ValueError, KeyError, TypeError, AttributeError):
            return []


def _position(event: RawEvent) -> int:
    return int(event.position)


def _row_of(line: bytes) -> RawEvent:
    """Return a line as a row of the log's table: text, as COPY writes it."""
    head, _, data = line.partition(_DATA)
    told = json.loads(head + b"}")
    fields = {name: _column(told[name]) for name in RawEvent._fields if name != "data"}
    at = told["recorded_at"].removesuffix("Z")
    return RawEvent(
        **{**fields, "recorded_at": f'"{at}"'.encode()}, data=data[:-1].replace(b"\\", rb"\\")
    )


def _column(value: Any) -> bytes:  # noqa: ANN401  any JSON
    return _NULL if value is None else str(value).translate(_ESCAPED).encode()
