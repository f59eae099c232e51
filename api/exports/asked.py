"""What can be asked of an export: the filters of the trail, a format, and from where to where."""

import re
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from reactorcide.api.audit import Actor, Address, EventName, StreamName
from reactorcide.api.exports.formats import FORMATS, Format, FormatName
from reactorcide.api.fields import Id, RequestModel, Time
from reactorcide.projections.audit_events import AuditFilter

_POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def _position_of(value: Any) -> int:  # noqa: ANN401  whatever the query held
    if not isinstance(value, str) or not _POSITION.fullmatch(value):
        code = "position"
        raise PydanticCustomError(code, "Must be a position: digits alone")
    return int(value)


Position: TypeAlias = Annotated[int, BeforeValidator(_position_of)]


class ExportQuery(RequestModel):
    """Which events, `since` included and `until` not, in which format, from where to where."""

    format: FormatName
    actor: Actor | None = None
    type: EventName | None = None
    stream_id: Id | None = None
    stream_type: StreamName | None = None
    ip: Address | None = None
    request_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    outcome: Literal["success", "denied", "refused"] | None = None
    since: Time | None = None
    until: Time | None = None
    after: (
        Annotated[
            Position,
            Field(json_schema_extra={"description": "Only what lies behind this position"}),
        ]
        | None
    ) = None
    to: (
        Annotated[
            Position, Field(json_schema_extra={"description": "Nothing behind this position"})
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _ends_behind_its_beginning(self) -> Self:
        if self.after is not None and self.to is not None and self.to < self.after:
            code = "position"
            error = PydanticCustomError(code, "Must not lie before after")
            flaw = InitErrorDetails(type=error, loc=("to",), input=None)
            raise ValidationError.from_exception_data(type(self).__name__, [flaw])
        return self

    @property
    def form(self) -> Format:
        """How the file is written."""
        return FORMATS[self.format]

    def wanted(self) -> AuditFilter:
        """Return the filters as the read side takes them."""
        return AuditFilter(**self.model_dump(exclude={"format", "after", "to"}))

    def filters(self) -> dict[str, Any]:
        """Return the filters that were given, as JSON."""
        return self.model_dump(mode="json", exclude={"format", "after", "to"}, exclude_none=True)
