"""The kinds of values that requests are made of: times, ids, texts with a byte limit.

Every type refuses with a code and a sentence, never echoes the input, and carries the JSON
Schema that the OpenAPI document shows. No request is put together here.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from reactorcide.eventstore.domain.access import Role, Scope

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})",
    re.ASCII | re.IGNORECASE,
)
_QUEUE: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class RequestModel(BaseModel):
    """The base of request bodies and queries: unknown fields are refused, types are strict."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def parse_uuid(text: str) -> UUID | None:
    """Return the id in `text`, in its canonical form only; None when it is none."""
    return UUID(text) if _UUID.fullmatch(text) else None


def parse_time(text: str) -> datetime | None:
    """Return the RFC 3339 time in `text`, in UTC; None when it is none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _uuid_of(value: Any) -> UUID:  # noqa: ANN401 - whatever the JSON held
    found = parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("uuid", "Must be a UUID")
    return found


def _time_of(value: Any) -> datetime:  # noqa: ANN401 - whatever the JSON held
    found = parse_time(value) if isinstance(value, str) else None
    if found is None:
        code = "date_time"
        raise PydanticCustomError(code, "Must be an RFC 3339 time with an offset")
    return found


def _at_most_bytes(limit: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text.encode()) > limit:
            code = "too_many_bytes"
            raise PydanticCustomError(code, "Must be at most {limit} bytes", {"limit": limit})
        return text

    return check


def _without_repeats(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _username(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        code = "username"
        raise PydanticCustomError(code, "Must be printable, without space at its ends")
    return text


Id: TypeAlias = Annotated[UUID, BeforeValidator(_uuid_of)]
Time: TypeAlias = Annotated[datetime, BeforeValidator(_time_of)]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=255)]
Command: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_at_most_bytes(131_072))]
ShortText: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
QueueName: TypeAlias = Annotated[str, Field(pattern=_QUEUE)]
Username: TypeAlias = Annotated[Name, AfterValidator(_username)]
Email: TypeAlias = Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Roles: TypeAlias = Annotated[list[Role], Field(min_length=1), AfterValidator(_without_repeats)]
Scopes: TypeAlias = Annotated[list[Scope], Field(min_length=1), AfterValidator(_without_repeats)]
Ids: TypeAlias = Annotated[list[Id], Field(max_length=1000), AfterValidator(_without_repeats)]
