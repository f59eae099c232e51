"""Events to and from what the log keeps: (wire type, schema version, JSON text).

Old facts stay readable for ever. When a class's meaning changes, its `schema_version` goes up,
an upcaster here turns the JSON of the version before into the new one, and the golden file of
the old version stays. Nothing is ever rewritten in the log.

    CodecError
    ├── UnknownEvent       no class has this wire type
    └── UnreadableEvent    newer than this program, or data that its class refuses
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, get_args
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from reactorcide.eventstore.domain.events import AnyEvent, Event
from reactorcide.eventstore.record import NewEvent, RecordedEvent


class Encoded(NamedTuple):
    """As much of a recorded event as decoding looks at."""

    position: int
    type: str
    schema_version: int
    data: str


Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

EVENT_TYPES: Final[Mapping[str, type[AnyEvent]]] = MappingProxyType(
    {event_type.wire_type: event_type for event_type in get_args(AnyEvent)}
)
"""Every wire type the log may hold, and its class."""


def _waited(data: dict[str, Any]) -> dict[str, Any]:
    """Say of a job of the first version that it waited, if only for the job.queued behind it."""
    return {**data, "waits": True}


UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = MappingProxyType(
    {("job.submitted", 1): _waited}
)
"""(wire type, schema version) to what makes the next version's data of that version's."""


class CodecError(Exception):
    """The event at `position` can't be read by this program."""

    def __init__(self, recorded: RecordedEvent | Encoded, detail: str) -> None:
        super().__init__(
            f"event {recorded.type} v{recorded.schema_version} "
            f"at position {recorded.position}: {detail}"
        )
        self.position = recorded.position
        self.type = recorded.type
        self.schema_version = recorded.schema_version


class UnknownEvent(CodecError):  # noqa: N818  named by what it is, like the rejections
    """No class has this wire type: a newer program wrote it."""


class UnreadableEvent(CodecError):  # noqa: N818  as above
    """The type is known, the data of this schema version are not."""


def encode(event_id: UUID, event: Event) -> NewEvent:
    """Return the event as the log takes it. A field at its default is left out of the JSON.

    That is lossless, since a default never changes (see `events`), and half of a usual
    job.submitted. What many jobs of a worker have in common is made once.
    """
    known = _written.get(id(event))
    if known is not None:
        return NewEvent(event_id, *known[1])
    made = written(event)
    if len(made[2]) <= _KEPT_CHARACTERS:
        if len(_written) >= _KEPT:
            _written.clear()
        _written[id(event)] = event, made
    return NewEvent(event_id, *made)


def written(event: Event) -> tuple[str, int, str]:
    """Return type, schema version and JSON of an event, as `encode` writes them."""
    data = event.__pydantic_serializer__.to_json(event, exclude_defaults=True).decode()
    return event.wire_type, event.schema_version, data


def whole(recorded: RecordedEvent | Encoded) -> dict[str, Any]:
    """Return the data of a recorded event with the defaults that were left out, as JSON values.

    An older event is brought up to its class's schema version; one of a newer version, or of an
    unknown type, is returned as it stands.
    """
    data: dict[str, Any] = json.loads(recorded.data)
    event_type = EVENT_TYPES.get(recorded.type)
    if event_type is None or event_type.schema_version < recorded.schema_version:
        return data
    if recorded.schema_version != event_type.schema_version:
        data = json.loads(_upcast(recorded, event_type.schema_version, UPCASTERS))
    return _defaults(event_type) | data


@cache
def _defaults(event_type: type[AnyEvent]) -> dict[str, Any]:
    return {
        name: to_jsonable_python(field.default)
        for name, field in event_type.model_fields.items()
        if not field.is_required() and field.default is not None
    }


# By identity, and with the event itself, so that its id is nobody else's meanwhile.
_written: Final[dict[int, tuple[Event, tuple[str, int, str]]]] = {}
_KEPT: Final = 1000
_KEPT_CHARACTERS: Final = 120


def decode(
    recorded: RecordedEvent | Encoded, upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS
) -> AnyEvent:
    """Return the fact that the log kept, brought up to its class's schema version.

    Raises UnknownEvent or UnreadableEvent, which carry the position and the type.
    """
    event_type = EVENT_TYPES.get(recorded.type)
    if event_type is None:
        raise UnknownEvent(recorded, "unknown type; was it written by a newer version?")
    data = recorded.data
    if recorded.schema_version != event_type.schema_version:
        data = _upcast(recorded, event_type.schema_version, upcasters)
    try:
        event: AnyEvent = event_type.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        raise UnreadableEvent(recorded, _first_problem(error)) from error
    return event


def _upcast(
    recorded: RecordedEvent | Encoded, wanted: int, upcasters: Mapping[tuple[str, int], Upcaster]
) -> str:
    """Return the JSON text after every step from the recorded version to `wanted`."""
    if recorded.schema_version > wanted:
        raise UnreadableEvent(recorded, f"this program reads up to version {wanted}")
    data = json.loads(recorded.data)
    for version in range(recorded.schema_version, wanted):
        upcaster = upcasters.get((recorded.type, version))
        if upcaster is None:
            raise UnreadableEvent(recorded, f"nothing leads from version {version} to {wanted}")
        data = upcaster(data)
    return json.dumps(data)


def _first_problem(error: ValidationError) -> str:
    """Name the first field that is wrong, without the value: it may be long, or private."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "data"
    return f"{where}: {first['msg']}"
