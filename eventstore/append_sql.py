"""The statements of an append, put together from constants. Runs nothing.

Every column of the log that an append fills has one parameter, `$1` … `$15`, whatever the
statement; a projection's own follow. A statement takes what all events of a call share as one
value, and the rest as arrays, one element per event: each array of an unnest costs time per
event, and what a worker or a bulk submit writes shares most of it.

    plain    one INSERT; events of a stream go in if the event before the first one is there.
             A version that is taken refuses the whole statement: the careful one follows.
    careful  the same for each stream by itself: the first event in, unless its version is
             taken, and the others after it. Twice the work per event.
    fresh    the same for streams that all are new, and begin with events of the same types.
    guarded  what is known to stand at its version because a row that says so was just taken
             away or changed by the same statement: nothing is looked up in the log.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from typing import Final, NamedTuple

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
THEN_ID: Final = "then_id"
"""What the column of a guard's second event's id is called; each stream has another."""
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
FRESH_EVENTS: Final = 3
"""New streams may be written as such when they begin with so many events at most."""
_FIRST_OF_STEPS: Final = 2 + len(CONTEXT) + 1


class Step(NamedTuple):
    """An event that all new streams of a call have at the same version."""

    type: str
    schema_version: int
    is_same_data: bool


class Fresh(NamedTuple):
    """What new streams begin with, and what of their contexts differs."""

    steps: tuple[Step, ...]
    differing: tuple[str, ...] = ()

    @property
    def first_of_rows(self) -> int:
        """The number of the first parameter of FreshRows."""
        return _FIRST_OF_STEPS + 2 * len(self.steps)


@dataclass(frozen=True, slots=True)
class Guard:
    """How a projection's rows tell that streams stand at their expected versions.

    `standing` is a statement over `incoming` (stream_id, version, event_id, data, and what
    `columns` adds) that takes or changes the rows that say `version - 1`, and returns all columns
    of `incoming` beside the row's own that `rows` needs. `rows` follows as with InlineRows and
    reads `standing`.
    """

    standing: str
    rows: str
    columns: tuple[tuple[str, str], ...] = ()
    """What `incoming` has beside, names and types; they are `$16`, `$17` … Values that concern
    all streams follow them."""
    then: tuple[str, int] | None = None
    """Type and schema version of a second event right behind the first. Its id and its data are
    the columns `THEN_ID` and `then_data`; `version` is the first one's."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are called."""
        return tuple(name for name, _ in self.columns)


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
_WHO_PART: Final = "\nSELECT array_agg(stream_id) AS stream_ids, now() AS recorded_at FROM first"
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
def fresh(shape: Fresh, rows: str) -> str:
    """Return the statement that begins many streams; a stream that is there refuses it as a whole.

    `$1` are the streams' ids, `$2` is their type, then come the context's columns, and for each
    step the events' ids and data.
    """
    arrays, steps = {"stream_id": array(1, _ID)}, []
    context = []
    for number, name in enumerate(CONTEXT, 3):
        context.append(name if name in shape.differing else f"${number}::{_TYPES[name]}")
        if name in shape.differing:
            arrays[name] = array(number, _TYPES[name])
    for nth, step in enumerate(shape.steps, 1):
        number = _FIRST_OF_STEPS + 2 * (nth - 1)
        arrays[f"id_{nth}"] = array(number, _ID)
        written = f"${number + 1}::jsonb"
        if not step.is_same_data:
            written = f"data_{nth}"
            arrays[written] = array(number + 1, "jsonb")
        steps.append(
            f"({nth}, id_{nth}, '{_plain_name(step.type)}', {step.schema_version:d}, {written})"
        )
    return (
        "WITH first AS (\n"
        + _INSERT_PART
        + "stream_id, e.version, e.event_id, $2::text, e.type, e.schema_version, e.data, "
        + ", ".join(context)
        + f"\nFROM unnest({', '.join(arrays.values())}) AS i ({', '.join(arrays)})"
        + f"\nCROSS JOIN LATERAL (VALUES {', '.join(steps)})"
        + " AS e (version, event_id, type, schema_version, data)"
        + _RETURNING_PART
        + ")"
        + rows
        + _RESULT_PART
        + " WHERE version = 1"
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
def guarded(guard: Guard, same: frozenset[str], *, to_many: bool = False) -> str:
    """Return the statement around a projection's guard; one event to each stream, or two.

    What is named in `same` has one value for all events, as `stream_id` and `event_id` never
    have. `to_many`: one row tells which streams stood where they were expected.
    """
    columns = [(name, _NUMBER[name], _TYPES[name]) for name in (*KEYS, "data")]
    columns += [
        (name, number, kind) for number, (name, kind) in enumerate(guard.columns, FIRST_OF_GUARD)
    ]
    return (
        "WITH incoming AS ("
        + narrowed(columns, same)
        + "),\nstanding AS ("
        + guard.standing
        + "),\nfirst AS ("
        + (
            _insert((*KEYS, "data")) + "\nFROM standing"
            if guard.then is None
            else _pair(guard.then)
        )
        + _RETURNING_PART
        + ")"
        + guard.rows
        + (_WHO_PART if to_many else _RESULT_PART)
    )


def _pair(then: tuple[str, int]) -> str:
    """Return the INSERT of two events for each stream that stands; positions ascend with them."""
    kind, schema_version = then
    context = ", ".join(_value(name, _TYPES[name], ()) for name in CONTEXT)
    first, stream_type = (
        ", ".join(_value(name, _TYPES[name], ()) for name in names)
        for names in (("type", "schema_version"), ("stream_type",))
    )
    return (
        _INSERT_PART
        + f"stream_id, e.version, e.event_id, {stream_type}, e.type, e.schema_version, e.data, "
        + context
        + f"\nFROM standing CROSS JOIN LATERAL (VALUES (version, event_id, {first}, data), "
        + f"(version + 1, {THEN_ID}, '{_plain_name(kind)}', {schema_version:d}, then_data))"
        + " AS e (version, event_id, type, schema_version, data)"
    )


def _insert(each: tuple[str, ...]) -> str:
    values = starmap(lambda name, kind: _value(name, kind, each), _COLUMNS_PART[:_RECORDED])
    return _INSERT_PART + ", ".join(values)
