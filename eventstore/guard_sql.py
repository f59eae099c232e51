"""The statements of appends that a projection's rows let through. Runs nothing.

Columns and their parameters are those of `append_sql`; nothing is looked up in the log. What it
knows better refuses such a statement as a whole.

    guarded  what is known to stand at its version because a row that says so was just taken
             away or changed by the same statement: nothing is looked up in the log.
    to_many  the same of streams that all stand at one version, for one event that is the same
             but for its id: their rows are found in one walk through the index.
    found    the same for streams that nobody named: the statement chooses them by their rows.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from reactorcide.eventstore.append_sql import (
    COLUMNS,
    CONTEXT,
    ID,
    ID_LETTERS,
    INSERT_PART,
    KEYS,
    NUMBER,
    RECORDED,
    RESULT_PART,
    RETURNING_PART,
    TYPES,
    array,
    insert_of,
    narrowed,
    numbered,
    plain_name,
    value_of,
)

_WANTED: Final = "wanted_id"
"""What `incoming` calls the id of a stream that is looked for."""
_BEGIN: Final = f"${NUMBER['event_id']}"
"""What the ids of numbered events begin with."""
FIRST_OF_GUARD: Final = len(COLUMNS)
"""The number of the first parameter that is a guard's own."""


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
    returns `stream_id`, the `version` of the new event, and EVENT_ID as `event_id`.
    `rows` follows as with InlineRows and reads `standing`, as does `result`, the query that
    answers. Their own parameters are numbered from FIRST_OF_CHOICE.
    """

    chosen: str
    standing: str
    rows: str
    result: str


_WHO_PART: Final = (
    f"\nSELECT CASE WHEN octet_length($1::text) > 1 + count(*) * {ID_LETTERS + 1}"
    " THEN coalesce(array_agg(stream_id), '{}') END AS stream_ids, now() AS recorded_at"
    "\nFROM standing"
)


@cache
def guarded(guard: Guard, same: frozenset[str]) -> str:
    """Return the statement around a projection's guard; one event to each stream.

    What is named in `same` has one value for all events, as `stream_id` and `event_id` never
    have.
    """
    columns = [(name, NUMBER[name], TYPES[name]) for name in (*KEYS, "data")]
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
        + insert_of((*KEYS, "data"))
        + "\nFROM standing"
        + RETURNING_PART
        + ")"
        + guard.rows
        + RESULT_PART
    )


@cache
def to_many(guard: Guard) -> str:
    """Return the statement around a guard for streams at one version; one row answers for all.

    It tells which streams stood where they were expected; null: all of them. In `$3` is what
    the events' ids begin with; they are numbered (see `ids.numbered`), from stream to stream.
    """
    columns = [("version", NUMBER["version"], "int")]
    columns += [
        (name, number, kind) for number, (name, kind) in enumerate(guard.columns, FIRST_OF_GUARD)
    ]
    alike = ", ".join(f"${number}::{kind} AS {name}" for name, number, kind in columns)
    return (
        "WITH incoming AS (SELECT "
        + alike
        + "),\nstanding AS ("
        + guard.standing.format(wanted=f"ANY ({array(1, ID)})")
        + "),\nfirst AS ("
        + (_one_each() if guard.then is None else _two_each(*guard.then))
        + ")"
        + guard.rows
        + _WHO_PART
    )


def _one_each() -> str:
    """Return the INSERT of an event for each stream that stands."""
    alike = ", ".join(value_of(name, kind, ()) for name, kind in COLUMNS[3:RECORDED])
    return (
        INSERT_PART
        + f"stream_id, version, {numbered(_BEGIN, 'row_number() OVER ()')}, {alike}\nFROM standing"
    )


def _two_each(kind: str, schema_version: int) -> str:
    """Return the INSERT of two events for each stream that stands; positions ascend with them.

    The second ones are made for one stream after the other (LATERAL), and so are the positions.
    """
    stream_type, first, first_schema, data = (
        value_of(name, TYPES[name], ())
        for name in ("stream_type", "type", "schema_version", "data")
    )
    context = ", ".join(value_of(name, TYPES[name], ()) for name in CONTEXT)
    return (
        INSERT_PART
        + f"stream_id, version + e.nth, {numbered(_BEGIN, '2 * s.nth - 1 + e.nth')}, "
        + f"{stream_type}, e.type, e.schema_version, e.data, {context}"
        + "\nFROM (SELECT *, row_number() OVER () AS nth FROM standing) AS s"
        + f"\nCROSS JOIN LATERAL (VALUES (0, {first}, {first_schema}, {data}), "
        + f"(1, '{plain_name(kind)}', {schema_version:d}::smallint, s.then_data))"
        + " AS e (nth, type, schema_version, data)"
    )


_FOUND_COLUMNS: Final = ("stream_type", "type", "schema_version", "data", *CONTEXT)
EVENT_ID: Final = numbered("$1", "c.nth")
"""The id of a stream's event in a Choice; `c` is `chosen`."""
FIRST_OF_CHOICE: Final = 2 + len(_FOUND_COLUMNS)
"""The number of the first parameter that is a choice's own."""


@cache
def found(choice: Choice) -> str:
    """Return the statement that chooses its streams itself; the same event to each of them.

    `$1` is what the events' ids begin with, then come _FOUND_COLUMNS.
    """
    values = ", ".join(
        f"${number}::{TYPES[name]} AS {name}" for number, name in enumerate(_FOUND_COLUMNS, 2)
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
