"""A past moment, as a query names it, and what of a stream had happened by then."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from reactorcide.api.errors import invalid_field, unavailable
from reactorcide.api.fields import RequestModel, parse_time
from reactorcide.eventstore import store
from reactorcide.eventstore.database import Pool, Reader
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections.moments import LONGEST_SECONDS, Cut, TooFarBack, cut_at

AT_POSITION: Final = "At-Position"
"""The header that tells which position a moment was."""

_POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def _moment_of(value: Any) -> int | datetime:  # noqa: ANN401  whatever the query held
    if isinstance(value, str):
        if _POSITION.fullmatch(value):
            return int(value)
        if (time := parse_time(value)) is not None:
            return time
    code = "moment"
    raise PydanticCustomError(code, "Must be an RFC 3339 time with an offset, or a position")


Moment: TypeAlias = Annotated[
    int | datetime,
    BeforeValidator(_moment_of),
    Field(
        json_schema_extra={"description": "An RFC 3339 time, or a position in the log"},
    ),
]


class AtQuery(RequestModel):
    """When; without it: now."""

    at: Moment | None = None


async def check_past(connection: Reader, moment: int | datetime) -> None:
    """Refuse a moment that has not come. Raises Problem (422)."""
    position, now = await store.present(connection)
    latest = position if isinstance(moment, int) else now
    if moment > latest:  # type: ignore[operator]  # of one kind, as chosen
        what = str(position) if isinstance(moment, int) else now.isoformat()
        message = f"Lies in the future: now is {what}"
        raise invalid_field(pointer="/at", code="in_the_future", message=message)


def up_to(recorded: Sequence[RecordedEvent], moment: int | datetime) -> list[RecordedEvent]:
    """Return the events of a stream that had happened by a moment."""
    if isinstance(moment, int):
        return [one for one in recorded if one.position <= moment]
    return [one for one in recorded if one.recorded_at <= moment]


@asynccontextmanager
async def past_cut(pool: Pool, moment: int | datetime) -> AsyncIterator[Cut]:
    """Lend the cut of a past moment. Raises Problem (422: it has not come; 503: it takes long)."""
    await check_past(pool, moment)
    try:
        yield await cut_at(pool, moment)
    except TooFarBack:
        what = f"So much has happened since that the answer takes over {LONGEST_SECONDS} seconds"
        raise unavailable(what) from None
