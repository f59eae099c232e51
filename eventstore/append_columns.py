"""Turns what is appended into the parameters of the statements of `append_sql`. Runs nothing.

An array costs time for each element, and to be one: what is the same for all events of a call
is sent once.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from reactorcide.eventstore import append_sql
from reactorcide.eventstore.record import Append, AppendToMany, Context

context_columns: Final = attrgetter(
    "actor_type",
    "actor_id",
    "token_id",
    "ip",
    "user_agent",
    "request_id",
    "correlation_id",
    "causation_id",
)
"""Returns the columns of a context, in the order of the log's."""


def with_everything(appends: Sequence[Append]) -> tuple[tuple[Any, ...], ...]:
    """Turn appends into sixteen arrays, one element per event."""
    rows = [
        (
            *(stream_id, version + nth, event_id, stream_type, kind, schema_version, data),
            *context_columns(context),
            version,
        )
        for stream_type, stream_id, version, events, context in appends
        for nth, (event_id, kind, schema_version, data) in enumerate(events, 1)
    ]
    return tuple(zip(*rows, strict=True))


def with_one_context(
    appends: Sequence[Append], context: Context
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Turn appends into arrays, one element per event, and what is the same for all of them."""
    rows = [
        (stream_id, version + nth, event_id, stream_type, kind, schema_version, data, version)
        for stream_type, stream_id, version, events, _ in appends
        for nth, (event_id, kind, schema_version, data) in enumerate(events, 1)
    ]
    columns = dict(zip(append_sql.ONE_CONTEXT, zip(*rows, strict=True), strict=True))
    same = same_in(columns, append_sql.KEYS)
    *values, expected = (values[0] if name in same else values for name, values in columns.items())
    each = tuple(name for name in append_sql.ONE_CONTEXT if name not in same)
    return each, (*values, *context_columns(context), expected)


def guarded_columns(
    appends: Sequence[Append], names: Sequence[str], arguments: Sequence[Any]
) -> tuple[frozenset[str], list[Any]]:
    """Turn appends of one event each, all by one actor and of one type, into a guard's columns.

    `arguments` are the guard's own columns, which are called `names`, and its values. Returns
    which columns have one value for all.
    """
    stream_type, _, _, (first,), context = appends[0]
    columns: dict[str, Sequence[Any]] = {
        "version": [append.expected_version + 1 for append in appends],
        "data": [append.events[0].data for append in appends],
        **dict(zip(names, arguments, strict=False)),
    }
    same = same_in(columns)
    version, data, *others = (
        values[0] if name in same else values for name, values in columns.items()
    )
    return same, [
        [append.stream_id for append in appends],
        version,
        [append.events[0].event_id for append in appends],
        *(stream_type, first.type, first.schema_version, data),
        *context_columns(context),
        *others,
        *arguments[len(names) :],
    ]


def columns_to_many(
    append: AppendToMany, names: Iterable[str], arguments: Iterable[Any]
) -> tuple[frozenset[str], list[Any]]:
    """Turn an append to many streams into a guard's columns; `arguments` hold for all of them."""
    stream_type, kind, schema_version, data, context, stream_ids, versions, event_ids = append
    version: int | list[int] = versions
    same = frozenset(("data", *names))
    if versions.count(versions[0]) == len(versions):
        version, same = versions[0], same | {"version"}
    return same, [
        *(stream_ids, version, event_ids, stream_type, kind, schema_version, data),
        *context_columns(context),
        *arguments,
    ]


def same_in(columns: Mapping[str, Sequence[Any]], keys: Container[str] = ()) -> frozenset[str]:
    """Return the columns, but for the keys, that have one value for all rows."""
    return frozenset(
        name
        for name, values in columns.items()
        if name not in keys and values.count(values[0]) == len(values)
    )
