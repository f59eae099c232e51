"""What every fact is: a frozen model with a wire name. The facts themselves are in `events`.

A field's default may never change: an event that was written without the field keeps its meaning
(a new meaning is a new `schema_version` and an upcaster in the codec).
"""

from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, JsonValue
from pydantic_core import core_schema

Json: TypeAlias = Annotated[
    JsonValue, GetPydanticSchema(lambda _type, _handler: core_schema.any_schema())
]
"""A JSON value, which pydantic takes as it is: it has been parsed from JSON.

Looking at it once more calls a Python function for each value inside, 1 µs each.
"""


class _Nothing(dict[str, str]):
    """An empty dict for all who have none: what can be hashed is not copied for each event."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # dict has none, for what changes


NOTHING: Final = _Nothing()

REDACTED: Final = "[redacted]"
"""Stands for a text that was erased."""


class Event(BaseModel):
    """The base of all facts. `wire_type` is its name in the log, the API and the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wire_type: ClassVar[str]
    schema_version: ClassVar[int] = 1

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return the event of these fields, all of them, as they are: they have been validated.

        A tenth of what `model_construct` takes, which asks after each field.
        """
        event = cls.__new__(cls)
        put = object.__setattr__  # the event is frozen
        put(event, "__dict__", fields)
        put(event, "__pydantic_fields_set__", _names(cls))
        put(event, "__pydantic_extra__", None)
        put(event, "__pydantic_private__", None)
        return event


@cache
def _names(event_type: type[Event]) -> set[str]:
    return set(event_type.model_fields)
