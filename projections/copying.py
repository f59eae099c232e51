"""Writes rows as COPY takes them in PostgreSQL's binary format. Knows no table and no event.

The driver can do it too, value by value. A rebuild makes most of a row once for thousands of
them, and hands the rest on as the log gave it. The format is told at
https://www.postgresql.org/docs/current/sql-copy.html, the values are what each type's send
function makes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from types import MappingProxyType
from typing import Any, Final

BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Before the first row: signature, no flags, no extension."""
END: Final = b"\xff\xff"
"""After the last one."""

_NULL: Final = b"\xff\xff\xff\xff"
_COUNT: Final = Struct(">h")
_SIZE: Final = Struct(">i")
_INTEGER: Final = Struct(">ii")
_BOOLEAN: Final = Struct(">i?")
_TIME: Final = Struct(">iq")
_ARRAY: Final = Struct(">iii")
_BOUNDS: Final = Struct(">ii")
_TEXT_OID: Final = 25
_ARRAY_BYTES: Final = _ARRAY.size + _BOUNDS.size
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def _sized(data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + data


def _texts(values: Sequence[str]) -> bytes:
    if not values:
        return _sized(_ARRAY.pack(0, 0, _TEXT_OID))
    head = _ARRAY.pack(1, 0, _TEXT_OID) + _BOUNDS.pack(len(values), 1)
    return _sized(head + b"".join(_sized(value.encode()) for value in values))


_ENCODERS: Final[Mapping[str, Callable[[Any], bytes]]] = MappingProxyType(
    {
        "uuid": lambda value: _sized(value.bytes),
        "integer": lambda value: _INTEGER.pack(4, value),
        "boolean": lambda value: _BOOLEAN.pack(1, value),
        "text": lambda value: _sized(value.encode()),
        "text[]": _texts,
        "jsonb": lambda value: _sized(b"\x01" + value.encode()),  # the format's version, and JSON
        "timestamp with time zone": lambda value: _TIME.pack(8, (value - _EPOCH) // _MICROSECOND),
    }
)


class Encoding:
    """How the columns of a table are written, by PostgreSQL's names of their types."""

    def __init__(self, types: Iterable[str]) -> None:
        """Raise KeyError for a type that no read table has had so far."""
        self._encoders = [_ENCODERS[name] for name in types]
        self.begin: Final = _COUNT.pack(len(self._encoders))
        """What every row begins with: how many fields follow."""

    def field(self, column: int, value: Any) -> bytes:  # noqa: ANN401  as its type wants it
        """Return the value of a column, counted from 0."""
        return _NULL if value is None else self._encoders[column](value)

    def fields(self, values: Sequence[Any], first: int = 0) -> bytes:
        """Return the values of neighbouring columns."""
        return b"".join([self.field(column, value) for column, value in enumerate(values, first)])

    def row(self, values: Sequence[Any]) -> bytes:
        """Return a whole row."""
        return self.begin + self.fields(values)


# Arrays of times, as `array_send` makes them: each element is already a field of a row. None is
# null.

ID_SIZE: Final = _SIZE.pack(16)
"""What stands before the bytes of an id."""


def time_in(number: int) -> slice:
    """Return where the field of a time is in an array of them; counted from 0."""
    start = _ARRAY_BYTES + _TIME.size * number
    return slice(start, start + _TIME.size)


def count_in(times: bytes) -> int:
    """Return how many times an array holds."""
    return (len(times) - _ARRAY_BYTES) // _TIME.size


def times_in(times: bytes) -> list[datetime]:
    """Return the times themselves."""
    fields = _TIME.iter_unpack(times[_ARRAY_BYTES:])
    return [_EPOCH + timedelta(microseconds=since) for _, since in fields]
