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

Those that a projection's rows let through are in `guard_sql`, put together from the same parts.
"""

import re
from collections.abc import Iterable
from functools import cache
from itertools import starmap
from typing import Final, NamedTuple

from reactorcide.eventstore.ids import NUMBERED_FROM

COLUMNS: Final = (
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
"""What an append sends, and as which type; all but the last are columns of the log."""
_WIRE_TYPE: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*")
ID: Final = "id"
"""A uuid that is never null."""
RECORDED: Final = len(COLUMNS) - 1
"""So many of them the log has."""
NUMBER: Final = {name: number for number, (name, _) in enumerate(COLUMNS, 1)}
TYPES: Final = dict(COLUMNS)
KEYS: Final = ("stream_id", "version", "event_id")
EVERYTHING: Final = tuple(name for name, _ in COLUMNS)
"""Each event has values of its own."""
ONE_CONTEXT: Final = (*KEYS, "stream_type", "type", "schema_version", "data", "expected_version")
"""One actor and one request wrote them all; what else they share may be left out as well."""
CONTEXT: Final = tuple(name for name, _ in COLUMNS[NUMBER["actor_type"] - 1 : RECORDED])
"""Who caused an event, from where, and what else belongs to it."""
FIRST_OF_ROWS: Final = len(COLUMNS) + 1
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


def array(number: int, kind: str) -> str:
    """Return an array parameter; ids go as text, which the driver sends in half the time."""
    return f"${number}::text::uuid[]" if kind == ID else f"${number}::{kind}[]"


def numbered(begin: str, number: str) -> str:
    """Return the id of an event by its number in the statement; see `ids.numbered`."""
    return f"({begin}::text || to_hex(x'{NUMBERED_FROM}'::int + {number}))::uuid"


def value_of(name: str, kind: str, each: tuple[str, ...]) -> str:
    """Return a column's value: its name, if each event has its own, or its parameter."""
    return name if name in each else f"${NUMBER[name]}::{kind}"


def _incoming(each: tuple[str, ...]) -> str:
    """Return the unnest of what differs from event to event."""
    arrays = [array(NUMBER[name], TYPES[name]) for name in each]
    return f"unnest({', '.join(arrays)}) AS i ({', '.join(each)})"


INSERT_PART: Final = (
    "INSERT INTO events (" + ", ".join(name for name, _ in COLUMNS[:RECORDED]) + ")\nSELECT "
)
RETURNING_PART: Final = "\nRETURNING stream_id, version, position, recorded_at"
ID_LETTERS: Final = 32
"""An id in an array (see `array`) has so many, and something that parts it from the next one."""
_WHEN_PART: Final = "\nSELECT now() AS recorded_at"
RESULT_PART: Final = "\nSELECT stream_id, version, position, recorded_at FROM first"


def insert_of(each: tuple[str, ...]) -> str:
    """Return the INSERT up to where its rows come from."""
    values = starmap(lambda name, kind: value_of(name, kind, each), COLUMNS[:RECORDED])
    return INSERT_PART + ", ".join(values)


def _stands(each: tuple[str, ...]) -> str:
    """Return the condition that the event before the first new one is there.

    A scalar subquery, not a join: whatever the planner believes about the size of the log, it
    can only be answered by one look into the unique index per event.
    """
    expected = value_of("expected_version", "int", each)
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
        insert_of(each)
        + "\nFROM "
        + _incoming(each)
        + "\nWHERE "
        + _stands(each)
        + "\nORDER BY stream_id, version"
        + RETURNING_PART
    )
    # A bare INSERT stays one: a CTE costs a tenth of a lone append.
    return "WITH first AS (" + insert + ")" + rows + RESULT_PART if rows else insert


@cache
def fresh(shape: Fresh, rows: str, *, to_many: bool = False) -> str:
    """Return the statement that begins many streams; a stream that is there refuses it as a whole.

    `$1` are the streams' ids, `$2` is their type, then come the context's columns, the events' ids
    and their data. `to_many`: of the ids only what they begin with, they are numbered (see
    `ids.numbered`), and one row tells when all of them were recorded.
    """
    columns = [(name, number, TYPES[name]) for number, name in enumerate(CONTEXT, 3)]
    columns.append(("data", _FRESH_ID + 1, "jsonb"))
    arrays = [("stream_id", array(1, ID))]
    arrays += [] if to_many else [("event_id", array(_FRESH_ID, ID))]
    arrays += [(name, array(nth, kind)) for name, nth, kind in columns if name in shape.differing]
    names = [name for name, _ in arrays]
    event_id = "event_id"
    if to_many:
        names.append("nth")
        event_id = numbered(f"${_FRESH_ID}", "nth")
    *context, data = (
        name if name in shape.differing else f"${number}::{kind}" for name, number, kind in columns
    )
    return (
        "WITH first AS (\n"
        + INSERT_PART
        + f"stream_id, 1, {event_id}, $2::text, '{plain_name(shape.type)}', "
        + f"{shape.schema_version:d}, {', '.join((data, *context))}"
        + f"\nFROM unnest({', '.join(parameter for _, parameter in arrays)})"
        + f"{' WITH ORDINALITY' if to_many else ''} AS i ({', '.join(names)})"
        + ("" if to_many else RETURNING_PART)
        + ")"
        + rows
        + (_WHEN_PART if to_many else RESULT_PART)
    )


def call(procedure: str, count: int) -> str:
    """Return the call of a procedure with so many parameters and one to answer in."""
    parameters = ", ".join(f"${number}" for number in range(1, count + 1))
    return f"CALL {plain_name(procedure)}({parameters}, NULL)"


def plain_name(wire_type: str) -> str:
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
        + insert_of(EVERYTHING)
        + "\nFROM incoming AS i\nWHERE version = expected_version + 1 AND "
        + _stands(EVERYTHING)
        + "\nORDER BY stream_id\nON CONFLICT (stream_id, version) DO NOTHING"
        + RETURNING_PART
        + "),\nrest AS ("
        + insert_of(EVERYTHING)
        + "\nFROM incoming\nWHERE version > expected_version + 1"
        + "\n    AND (stream_id IN (SELECT stream_id FROM first)) IS TRUE"
        + "\nORDER BY stream_id, version\n)"
        + rows
        + RESULT_PART
    )
