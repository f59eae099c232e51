"""What differs between two versions of a stream, as it is shown: by JSON Pointer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError, to_jsonable_python
from starlette.responses import Response

from reactorcide.api.call import json_answer
from reactorcide.api.errors import invalid_field, pointer_of
from reactorcide.api.fields import RequestModel
from reactorcide.eventstore.record import RecordedEvent

Shown: TypeAlias = Callable[[Sequence[RecordedEvent]], dict[str, Any]]
"""Returns what a stream's first events make, as the API shows it."""


def _version_of(value: Any) -> int:  # noqa: ANN401  whatever the query held
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 10:  # noqa: PLR2004  an int of PostgreSQL
        return int(value)
    code = "version"
    raise PydanticCustomError(code, "Must be a version: a whole number from 1 on")


Version: TypeAlias = Annotated[int, BeforeValidator(_version_of)]


class DiffQuery(RequestModel):
    """Which two versions; without: the latest and the one before it."""

    before: Version | None = Field(default=None, alias="from")
    after: Version | None = Field(default=None, alias="to")


def diff_answer(query: DiffQuery, recorded: Sequence[RecordedEvent], shown: Shown) -> Response:
    """Return what changed from one version to another. Raises Problem (422)."""
    latest = len(recorded)
    to = latest if query.after is None else query.after
    start = max(to - 1, 1) if query.before is None else query.before
    for name, version in (("from", start), ("to", to)):
        if not 1 <= version <= latest:
            message = f"Must be from 1 to {latest}, the latest version"
            raise invalid_field(pointer_of((name,)), "no_such_version", message)
    before, after = (to_jsonable_python(shown(recorded[:version])) for version in (start, to))
    return json_answer(
        {
            "from": _place(recorded[start - 1]),
            "to": _place(recorded[to - 1]),
            "changes": [
                {"path": pointer_of(path), "from": old, "to": new}
                for path, old, new in changes(before, after)
            ],
        }
    )


def _place(event: RecordedEvent) -> dict[str, Any]:
    return {
        "version": event.version,
        "position": event.position,
        "recorded_at": event.recorded_at,
    }


def changes(
    before: Any,  # noqa: ANN401  JSON of any kind
    after: Any,  # noqa: ANN401  as above
    path: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield where two JSON values differ: path, old, new. Lists are compared as a whole.

    What an object lacks is None there, as it is in what the API shows.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in _names(before, after):
            yield from changes(before.get(name), after.get(name), (*path, name))
    elif before != after or type(before) is not type(after):
        yield path, before, after


def _names(*objects: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(name for one in objects for name in one)
