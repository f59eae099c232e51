"""One row per operation of the API, and nothing else: routes and OpenAPI both come from it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from starlette.responses import Response

from reactorcide.api.call import Call

V1: Final = "/api/v1"
LAST_EVENT_ID: Final = {
    "Last-Event-ID": "The id of the last event seen: the stream goes on behind it."
}

Handler: TypeAlias = Callable[[Call[Any, Any]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What is done with one method on one path."""

    name: str
    """Its id in the OpenAPI document."""
    method: str
    path: str
    """Its parameters: the id of the object, and behind that perhaps a `path` with slashes."""
    summary: str
    handler: Handler
    tag: str
    is_public: bool = False
    """Needs no token."""
    scopes: tuple[str, ...] = ()
    """One of them is needed; with none, any token will do."""
    body: type[BaseModel] | None = None
    body_is_optional: bool = False
    read_body: Callable[[dict[str, Any]], Any] | None = None
    """Makes of the JSON what the handler is given; without it that is the model `body`."""
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] | None = None
    """Request headers it reads, with what they mean."""
    status: int = HTTPStatus.OK
    also: Mapping[int, str] | None = None
    """Other successful statuses, with what they mean."""
    answer: type[BaseModel] | None = None
    media_types: Sequence[str] = ("application/json",)
    errors: tuple[str, ...] = ()
    """Error codes beside those that follow from the rest of the row."""

    @property
    def kind(self) -> str:
        """What the object in the path is called: `job` for `/jobs/{job_id}`."""
        return self.path.partition("{")[2].partition("_id}")[0] or "resource"
