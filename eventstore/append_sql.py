"""The statements of an append, put together from constants. Runs nothing.

Every column of the log that an append fills has one parameter, `$1` … `$15`, whatever the
statement; a projection's own follow. A statement takes what all events of a call share as one
value, and the rest as arrays, one element per event: each array of an unnest costs time per
event, and what a worker or a bulk submit writes shares most of it.

    plain    one INSERT; events of a stream go in if the event before the first one is there.
             A version that is taken refuses the whole statement: the careful one follows.
    careful  the same for each stream by itself: the first event in, unless its version is
             taken, and the others after it. Twice the work per event.
    fresh    the same for streams that all are new, and begin with one event of the same type.
    guarded  what is known to stand at its version because a row that says so was just taken
             away or changed by the same statement: nothing is looked up in the log.
    to_many  the same of streams that all stand at one version, for one event that is the same
             but for its id: their rows are found in one walk through the index.
    found    the same for streams that nobody named: the statement chooses them by their rows.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from typing import Final, NamedTuple

from reactorcide.eventstore.ids import NUMBERED_FROM

_COLUMNS_PART: Final = (
    ("stream_id", "id"),
    ("version", "int"),
    ("event_id", "id"),
    ("stream_type", "text"),
    ("type", "text"),
    ("schema_version", "smallint"),
    ("data", "jsonb"),
    ("actor_type", "text"),
    ("actor_id", "uuid"),
    ("token_id", "uuid"),
    ("ip", "inet"),
    ("user_agent", "text"),
    ("request_id", "text"),
    ("correlation_id", "uuid"),
    ("causation_id", "uuid"),
    ("expected_version", "int"),
)
_WIRE_TYPE: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*")
_ID: Final = "id"
"""A uuid that is never null."""
_WANTED: Final = "wanted_id"
"""What `incoming` calls the id of a stream that is looked for."""
_RECORDED: Final = len(_COLUMNS_PART) - 1
_NUMBER: Final = {name: number for number, (name, _) in enumerate(_COLUMNS_PART, 1)}

_TYPES: Final = dict(_COLUMNS_PART)
FIRST_OF_GUARD: Final = len(_COLUMNS_PART)
"""The number of the first parameter that is a guard's own."""

KEYS: Final = ("stream_id", "version", "event_id")
EVERYTHING: Final = tuple(name for name, _ in _COLUMNS_PART)
"""Each event has values of its own."""
ONE_CONTEXT: Final = (*KEYS, "stream_type", "type", "schema_version", "data", "expected_version")
"""One actor and one request wrote them all; what else they share may be left out as well."""
CONTEXT: Final = tuple(name for name, _ in _COLUMNS_PART[_NUMBER["actor_type"] - 1 : _RECORDED])
"""Who caused an event, from where, and what else belongs to it."""
FIRST_OF_ROWS: Final = len(_COLUMNS_PART) + 1
"""The number of the first parameter of InlineRows."""
_FRESH_ID: Final = 2 + len(CONTEXT) + 1
FIRST_OF_FRESH_ROWS: Final = _FRESH_ID + 2
"""The number of the first parameter of FreshRows."""


class Fresh(NamedTuple):
    """What new streams begin with: an event of one type, and which columns of it differ."""

    type: str
    schema_version: int
    differing: frozenset[str] = frozenset()
    """Of `data`, and the context's."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How a projection's rows tell that streams stand at their expected versions.

    `standing` is a statement over `incoming` (version, event_id, data, and what `columns` adds)
    that takes or changes the rows whose stream's id `= {wanted}` and that say `version - 1`. It
    returns all columns of `incoming`, the id as `stream_id` and what else `rows` needs. `rows`
    follows as with InlineRows and reads `standing`.
    """

    standing: str
    rows: str
    columns: tuple[tuple[str, str], ...] = ()
    """What `incoming` has beside, names and types; they are `$16`, `$17` … Values that concern
    all streams follow them."""
    then: tuple[str, int] | None = None
    """Type and schema version of a second event right behind the first, for `to_many` alone. Its
    data are the column `then_data`; `version` is the first one's."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are called."""
        return tuple(name for name, _ in self.columns)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a projection's rows tell which streams are to get an event, and where they stand.

    `chosen` is a query that locks rows (SKIP LOCKED: what somebody else changes is not chosen) and
    numbers them from 1 as `nth`. `standing` is a statement that takes or changes these rows and
    returns `stream_id`, the `version` of the new event, and the `nth` of EVENT_IDS as `event_id`.
    `rows` follows as with InlineRows and reads `standing`, as does `result`, the query that
    answers. Their own parameters are numbered from FIRST_OF_CHOICE.
    """

    chosen: str
    standing: str
    rows: str
    result: str


def array(number: int, kind: str) -> str:
    """Return an array parameter; ids go as text, which the driver sends in half the time."""
    return f"${number}::text::uuid[]" if kind == _ID else f"${number}::{kind}[]"


def _value(name: str, kind: str, each: tuple[str, ...]) -> str:
    return name if name in each else f"${_NUMBER[name]}::{kind}"


def _incoming(each: tuple[str, ...]) -> str:
    """Return the unnest of what differs from event to event."""
    arrays = [array(_NUMBER[name], _TYPES[name]) for name in each]
    return f"unnest({', '.join(arrays)}) AS i ({', '.join(each)})"


_INSERT_PART: Final = (
    "INSERT INTO events (" + ", ".join(name for name, _ in _COLUMNS_PART[:_RECORDED]) + ")\nSELECT "
)
_RETURNING_PART: Final = "\nRETURNING stream_id, version, position, recorded_at"
ID_LETTERS: Final = 32
"""An id in an array (see `array`) has so many, and something that parts it from the next one."""
_WHO_PART: Final = (
    f"\nSELECT CASE WHEN octet_length($1::text) > 1 + count(*) * {ID_LETTERS + 1}"
    " THEN coalesce(array_agg(stream_id), '{}') END AS stream_ids, now() AS recorded_at"
    "\nFROM standing"
)
_WHEN_PART: Final = "\nSELECT now() AS recorded_at"
_RESULT_PART: Final = "\nSELECT stream_id, version, position, recorded_at FROM first"


def _stands(each: tuple[str, ...]) -> str:
    """Return the condition that the event before the first new one is there.

    A scalar subquery, not a join: whatever the planner believes about the size of the log, it
    can only be answered by one look into the unique index per event.
    """
    expected = _value("expected_version", "int", each)
    return (
        f"({expected} = 0 OR (\n    SELECT 1 FROM events AS e"
        f"\n    WHERE e.stream_id = i.stream_id AND e.version = {expected}\n) IS NOT NULL)"
    )


def narrowed(columns: Iterable[tuple[str, int, str]], same: frozenset[str]) -> str:
    """Return a query of rows from parameters: each column's name, its number and its type.

    Those in `same` have one value for all rows; at least one has not.
    """
    arrays, values = [], []
    for name, number, kind in columns:
        if name in same:
            values.append(f"${number}::{kind} AS {name}")
        else:
            arrays.append((name, array(number, kind)))
    names = ", ".join(name for name, _ in arrays)
    unnest = ", ".join(parameter for _, parameter in arrays)
    return f"SELECT {', '.join((names, *values))} FROM unnest({unnest}) AS i ({names})"


@cache
def plain(each: tuple[str, ...], rows: str) -> str:
    """Return the statement that any taken version refuses as a whole."""
    insert = (
        _insert(each)
        + "\nFROM "
        + _incoming(each)
        + "\nWHERE "
        + _stands(each)
        + "\nORDER BY stream_id, version"
        + _RETURNING_PART
    )
    # A bare INSERT stays one: a CTE costs a tenth of a lone append.
    return "WITH first AS (" + insert + ")" + rows + _RESULT_PART if rows else insert


@cache
def fresh(shape: Fresh, rows: str, *, to_many: bool = False) -> str:
    """Return the statement that begins many streams; a stream that is there refuses it as a whole.

    `$1` are the streams' ids, `$2` is their type, then come the context's columns, the events' ids
    and their data. `to_many`: of the ids only what they begin with, they are numbered (see
    `ids.numbered`), and one row tells when all of them were recorded.
    """
    columns = [(name, number, _TYPES[name]) for number, name in enumerate(CONTEXT, 3)]
    columns.append(("data", _FRESH_ID + 1, "jsonb"))
    arrays = [("stream_id", array(1, _ID))]
    arrays += [] if to_many else [("event_id", array(_FRESH_ID, _ID))]
    arrays += [(name, array(nth, kind)) for name, nth, kind in columns if name in shape.differing]
    names = [name for name, _ in arrays]
    event_id = "event_id"
    if to_many:
        names.append("nth")
        event_id = f"(${_FRESH_ID}::text || to_hex(x'{NUMBERED_FROM}'::int + nth))::uuid"
    *context, data = (
        name if name in shape.differing else f"${number}::{kind}" for name, number, kind in columns
    )
    return (
        "WITH first AS (\n"
        + _INSERT_PART
        + f"stream_id, 1, {event_id}, $2::text, '{_plain_name(shape.type)}', "
        + f"{shape.schema_version:d}, {', '.join((data, *context))}"
        + f"\nFROM unnest({', '.join(parameter for _, parameter in arrays)})"
        + f"{' WITH ORDINALITY' if to_many else ''} AS i ({', '.join(names)})"
        + ("" if to_many else _RETURNING_PART)
        + ")"
        + rows
        + (_WHEN_PART if to_many else _RESULT_PART)
    )


def _plain_name(wire_type: str) -> str:
    """Return a type as it may stand in a statement."""
    if not _WIRE_TYPE.fullmatch(wire_type):
        msg = f"{wire_type!r} can't be an event's type"
        raise ValueError(msg)
    return wire_type


@cache
def careful(rows: str) -> str:
    """Return the statement that takes each stream by itself."""
    return (
        "WITH incoming AS MATERIALIZED (SELECT * FROM "
        + _incoming(EVERYTHING)
        + "),\nfirst AS ("
        + _insert(EVERYTHING)
        + "\nFROM incoming AS i\nWHERE version = expected_version + 1 AND "
        + _stands(EVERYTHING)
        + "\nORDER BY stream_id\nON CONFLICT (stream_id, version) DO NOTHING"
        + _RETURNING_PART
        + "),\nrest AS ("
        + _insert(EVERYTHING)
        + "\nFROM incoming\nWHERE version > expected_version + 1"
        + "\n    AND (stream_id IN (SELECT stream_id FROM first)) IS TRUE"
        + "\nORDER BY stream_id, version\n)"
        + rows
        + _RESULT_PART
    )


@cache
def guarded(guard: Guard, same: frozenset[str]) -> str:
    """Return the statement around a projection's guard; one event to each stream.

    What is named in `same` has one value for all events, as `stream_id` and `event_id` never
    have.
    """
    columns = [(name, _NUMBER[name], _TYPES[name]) for name in (*KEYS, "data")]
    columns[0] = (_WANTED, *columns[0][1:])
    columns += [
        (name, number, kind) for number, (name, kind) in enumerate(guard.columns, FIRST_OF_GUARD)
    ]
    return (
        "WITH incoming AS ("
        + narrowed(columns, same)
        + "),\nstanding AS ("
        + guard.standing.format(wanted=f"i.{_WANTED}")
        + "),\nfirst AS ("
        + _insert((*KEYS, "data"))
        + "\nFROM standing"
        + _RETURNING_PART
        + ")"
        + guard.rows
        + _RESULT_PART
    )


@cache
def to_many(guard: Guard) -> str:
    """Return the statement around a guard for streams at one version; one row answers for all.

    It tells which streams stood where they were expected; null: all of them. In `$3` is what
    the events' ids begin with; they are numbered (see `ids.numbered`), from stream to stream.
    """
    columns = [("version", _NUMBER["version"], "int")]
    columns += [
        (name, number, kind) for number, (name, kind) in enumerate(guard.columns, FIRST_OF_GUARD)
    ]
    alike = ", ".join(f"${number}::{kind} AS {name}" for name, number, kind in columns)
    return (
        "WITH incoming AS (SELECT "
        + alike
        + "),\nstanding AS ("
        + guard.standing.format(wanted=f"ANY ({array(1, _ID)})")
        + "),\nfirst AS ("
        + (_one_each() if guard.then is None else _two_each(*guard.then))
        + ")"
        + guard.rows
        + _WHO_PART
    )


def _numbered(number: str) -> str:
    """Return the id of an event by its number in the statement."""
    return f"($3::text || to_hex(x'{NUMBERED_FROM}'::int + {number}))::uuid"


def _one_each() -> str:
    """Return the INSERT of an event for each stream that stands."""
    alike = ", ".join(_value(name, kind, ()) for name, kind in _COLUMNS_PART[3:_RECORDED])
    return (
        _INSERT_PART
        + f"stream_id, version, {_numbered('row_number() OVER ()')}, {alike}\nFROM standing"
    )


def _two_each(kind: str, schema_version: int) -> str:
    """Return the INSERT of two events for each stream that stands; positions ascend with them.

    The second ones are made for one stream after the other (LATERAL), and so are the positions.
    """
    stream_type, first, first_schema, data = (
        _value(name, _TYPES[name], ()) for name in ("stream_type", "type", "schema_version", "data")
    )
    context = ", ".join(_value(name, _TYPES[name], ()) for name in CONTEXT)
    return (
        _INSERT_PART
        + f"stream_id, version + e.nth, {_numbered('2 * s.nth - 1 + e.nth')}, {stream_type}, "
        + f"e.type, e.schema_version, e.data, {context}"
        + "\nFROM (SELECT *, row_number() OVER () AS nth FROM standing) AS s"
        + f"\nCROSS JOIN LATERAL (VALUES (0, {first}, {first_schema}, {data}), "
        + f"(1, '{_plain_name(kind)}', {schema_version:d}::smallint, s.then_data))"
        + " AS e (nth, type, schema_version, data)"
    )


def _insert(each: tuple[str, ...]) -> str:
    values = starmap(lambda name, kind: _value(name, kind, each), _COLUMNS_PART[:_RECORDED])
    return _INSERT_PART + ", ".join(values)


_FOUND_COLUMNS: Final = ("stream_type", "type", "schema_version", "data", *CONTEXT)
EVENT_IDS: Final = "((SELECT $1::text::uuid[]))"
"""The array of events' ids in a Choice; the subquery, so that it is made once."""
FIRST_OF_CHOICE: Final = 2 + len(_FOUND_COLUMNS)
"""The number of the first parameter that is a choice's own."""


@cache
def found(choice: Choice) -> str:
    """Return the statement that chooses its streams itself; the same event to each of them.

    `$1` are ids for the events, then come _FOUND_COLUMNS.
    """
    values = ", ".join(
        f"${number}::{_TYPES[name]} AS {name}" for number, name in enumerate(_FOUND_COLUMNS, 2)
    )
    columns = ", ".join(_FOUND_COLUMNS)
    return (
        "WITH chosen AS MATERIALIZED (\n"
        + choice.chosen
        + "\n),\nstanding AS (\n"
        + choice.standing
        + f"\n),\nfirst AS (\nINSERT INTO events (stream_id, version, event_id, {columns})"
        + f"\nSELECT stream_id, version, event_id, {values} FROM standing\n)"
        + choice.rows
        + "\n"
        + choice.result
    )
