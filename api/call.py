"""What a handler is given: who asks, for what, from where; and what it gives back.

Only shapes and the rendering of JSON answers: nothing here reads a request or a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from reactorcide.eventstore.record import Context

if TYPE_CHECKING:
    from reactorcide.api.services import Services

B = TypeVar("B")
Q = TypeVar("Q")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the owner of a token that holds."""

    user_id: UUID
    token_id: UUID
    roles: tuple[str, ...]
    scopes: frozenset[str]
    """What this token opens: the owner's roles, narrowed by the token's own scopes."""
    token_hash: str
    said: Mapping[str, str]
    """The two ids as log lines have them."""

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything."""
        return "admin" in self.roles

    @property
    def sees_every_job(self) -> bool:
        """Whether jobs of others are visible."""
        return not _EVERY_JOB.isdisjoint(self.roles)

    @property
    def commands_every_job(self) -> bool:
        """Whether jobs of others may be changed, and any job killed."""
        return not _COMMAND_EVERY_JOB.isdisjoint(self.roles)


_EVERY_JOB: Final = frozenset({"auditor", "operator", "admin"})
_COMMAND_EVERY_JOB: Final = frozenset({"operator", "admin"})
_NO_ID: Final = UUID(int=0)
_NO_HEADERS: Final[Mapping[str, str]] = {}
_CONTENT_TYPE: Final = (b"content-type", b"application/json")

NOBODY: Final = Caller(_NO_ID, _NO_ID, (), frozenset(), "", {})


class Call(NamedTuple, Generic[B, Q]):
    """One request, checked as far as the operation's table row can say."""

    services: "Services"
    request: Request
    caller: Caller
    """NOBODY on the operations that need no token."""
    context: Context
    object_id: UUID
    """The id in the path; all zeros where the path has none."""
    body: B
    raw_body: bytes
    query: Q


class JsonAnswer(Response):
    """JSON that has been written, with the headers given and no others but its length and type.

    Nothing is looked for among them first, as the base class does.
    """

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            *[
                (name.lower().encode("latin-1"), text.encode("latin-1"))
                for name, text in headers.items()
            ],
            (b"content-length", b"%d" % len(body)),
            _CONTENT_TYPE,
        ]


def json_answer(
    content: Any,  # noqa: ANN401 - whatever pydantic can write
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return `content` as JSON; times and ids are written as the contract says."""
    return JsonAnswer(to_json(content), status, headers or _NO_HEADERS)


def no_content() -> Response:
    """Return the answer to what leaves nothing to say."""
    return Response(status_code=HTTPStatus.NO_CONTENT)
