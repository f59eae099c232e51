"""Turns what is appended into the parameters of the statements of appends. Runs nothing.

An array costs time for each element, and to be one: what is the same for all events of a call
is sent once.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from reactorcide.eventstore import append_sql
from reactorcide.eventstore.ids import new_beginning
from reactorcide.eventstore.record import Append, AppendToMany, AppendToNew, Context

context_columns: Final = attrgetter(*append_sql.CONTEXT)
"""Returns the columns of a context, in the order of the log's."""

_KEPT: Final = 256

_STREAM_ID: Final = append_sql.EVERYTHING.index("stream_id")
_EVENT_ID: Final = append_sql.EVERYTHING.index("event_id")


def ids(values: Iterable[UUID]) -> str:
    """Return an array of ids as `append_sql` takes it: each of ID_LETTERS, and a comma or a brace.

    Without hyphens: they are made, sent and read in half the time.
    """
    return "{" + ",".join([value.hex for value in values]) + "}"


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
    columns: list[Any] = list(zip(*rows, strict=True))
    for nth in (_STREAM_ID, _EVENT_ID):
        columns[nth] = ids(columns[nth])
    return tuple(columns)


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
    stream_ids, versions, event_ids, *values, expected = (
        values[0] if name in same else values for name, values in columns.items()
    )
    each = tuple(name for name in append_sql.ONE_CONTEXT if name not in same)
    written = ids(stream_ids), versions, ids(event_ids), *values
    return each, (*written, *context_columns(context), expected)


def fresh_columns(appends: Sequence[Append]) -> tuple[append_sql.Fresh, list[Any]] | None:
    """Turn the first appends to new streams into columns, one element per stream.

    None when they are not alike: events of other types, or more than one.
    """
    kinds = {events[0][1:3] if len(events) == 1 else None for _, _, _, events, _ in appends}
    if len(kinds) > 1 or (kind := kinds.pop()) is None:
        return None
    contexts, differing = _one_or_each([append.context for append in appends])
    data, is_same = _one_or_all([append.events[0].data for append in appends])
    return append_sql.Fresh(*kind, differing if is_same else differing | _ONLY_DATA), [
        ids(append.stream_id for append in appends),
        appends[0].stream_type,
        *contexts,
        ids(append.events[0].event_id for append in appends),
        data,
    ]


def columns_to_new(append: AppendToNew) -> tuple[append_sql.Fresh, list[Any]]:
    """Turn an append to new streams into the same; the events' ids are numbered."""
    stream_type, kind, schema_version, given, stream_ids, texts, _ = append
    contexts, differing = _one_or_each(given)
    data, is_same = _one_or_all(texts)
    shape = append_sql.Fresh(kind, schema_version, differing if is_same else differing | _ONLY_DATA)
    return shape, [
        ids(stream_ids),
        stream_type,
        *contexts,
        new_beginning(),
        data,
    ]


_ONLY_DATA: Final = frozenset({"data"})


def _one_or_each(contexts: list[Context]) -> tuple[Sequence[Any], frozenset[str]]:
    """Return the columns of contexts: of each one value, or one per context where they differ.

    And which do.
    """
    first = contexts[0]
    if all(context is first for context in contexts):
        return context_columns(first), frozenset()
    each = zip(*map(context_columns, contexts), strict=True)
    columns = dict(zip(append_sql.CONTEXT, each, strict=True))
    same = same_in(columns)
    values = [values[0] if name in same else values for name, values in columns.items()]
    return values, frozenset(columns) - same


def _one_or_all(texts: list[str]) -> tuple[str | list[str], bool]:
    """Return the one text that all are, or all; and whether it is one."""
    first = texts[0]
    is_same = texts.count(first) == len(texts)
    return (first, True) if is_same else (texts, False)


def are_alike(appends: Sequence[Append]) -> bool:
    """Say whether a guard may speak for all of them: they go as `guarded_columns`."""
    stream_type, _, _, (first, *_), context = appends[0]
    return all(
        append.context is context
        and append.stream_type is stream_type
        and len(append.events) == 1
        and append.events[0].type == first.type
        and append.events[0].schema_version == first.schema_version
        for append in appends
    )


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
        ids(append.stream_id for append in appends),
        version,
        ids(append.events[0].event_id for append in appends),
        *(stream_type, first.type, first.schema_version, data),
        *context_columns(context),
        *others,
        *arguments[len(names) :],
    ]


def columns_to_many(append: AppendToMany, arguments: Iterable[Any]) -> list[Any]:
    """Turn an append to many streams into parameters; `arguments` hold for all of them."""
    stream_type, kind, schema_version, data, context, version, begin, stream_ids, _ = append
    return [
        *(ids(stream_ids), version, begin, stream_type, kind, schema_version, data),
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
