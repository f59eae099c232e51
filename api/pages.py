"""Lists: which part is asked for, and the envelope that all of them are answered in."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from reactorcide.api.fields import RequestModel
from reactorcide.projections.paging import Listed, Page, cursor_of, key_of

_NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)


def _number(value: Any) -> int:  # noqa: ANN401 - a default, or a text of the query
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        code = "int_parsing"
        raise PydanticCustomError(code, "Must be a whole number")
    return int(value)


def _cursor(text: str) -> str:
    try:
        key_of(text)
    except ValueError:
        code = "cursor"
        raise PydanticCustomError(code, "Must be a cursor that a list gave") from None
    return text


QueryInt: TypeAlias = Annotated[int, BeforeValidator(_number)]


class PageQuery(RequestModel):
    """Which part of a list: by offset, or after the last page's `next_cursor`."""

    limit: Annotated[QueryInt, Field(ge=1, le=200)] = 50
    offset: Annotated[QueryInt, Field(ge=0)] = 0
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None

    @field_validator("cursor")
    @classmethod
    def _cursor_alone(cls, cursor: str | None, info: ValidationInfo) -> str | None:
        if cursor is not None and info.data.get("offset"):
            code = "cursor"
            raise PydanticCustomError(code, "Must not come together with an offset")
        return cursor

    def page(self) -> Page:
        """Return it as the read side takes it."""
        before = key_of(self.cursor) if self.cursor is not None else None
        return Page(self.limit, self.offset, before)


def envelope(
    plural: str, page: PageQuery, found: Listed[Any], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return a list's answer."""
    after: UUID | None = found.next_before
    return {
        plural: rows,
        "total": found.total,
        "limit": page.limit,
        "offset": page.offset,
        "next_cursor": cursor_of(after) if after is not None else None,
    }
