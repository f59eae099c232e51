"""Every answer that is not a success, as RFC 9457 problem details in one shape.

The only module that knows HTTP error numbers: rules raise `CommandRejected`, shells raise the
`Problem` made by one of the functions below, and `problem_of` turns the former into the latter.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from reactorcide.eventstore.domain.errors import (
    AlreadyTaken,
    CommandRejected,
    NotFound,
    NotGranted,
    NotLegal,
)

MISSING_HEADER: Final = "Missing Authorization header"
INVALID_HEADER: Final = "Invalid Authorization header format"
INVALID_TOKEN: Final = "Invalid or expired token"  # noqa: S105 - a text of the contract

_STATUS: Final[Mapping[str, int]] = {
    "malformed_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "invalid_input": 422,
    "precondition_required": 428,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
}

ERROR_CODES: Final = tuple(_STATUS)


class Flaw(NamedTuple):
    """One thing wrong with the input, and where (a JSON Pointer)."""

    pointer: str
    code: str
    message: str


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """A request that ends here: `error` is the stable code, `detail` is for people.

    `members` are more members of the body, such as `current_status`.
    """

    def __init__(
        self,
        error: str,
        detail: str,
        flaws: Sequence[Flaw] = (),
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail
        self.flaws = flaws
        self.headers = headers or {}
        self.members = members

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return _STATUS[self.error]

    @property
    def phrase(self) -> str:
        """What HTTP calls the status."""
        return HTTPStatus(self.status).phrase

    def body(self, instance: str, request_id: str) -> bytes:
        """Return the problem details as JSON."""
        content: dict[str, Any] = {
            "type": f"/docs#{self.error}",
            "title": self.phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "error": self.error,
            "message": self.detail,
            "request_id": request_id,
            **self.members,
        }
        if self.flaws:
            content["errors"] = [flaw._asdict() for flaw in self.flaws]
        return to_json(content)


def status_of(error: str) -> int:
    """Return the HTTP status of an error code."""
    return _STATUS[error]


def malformed_request(detail: str, pointer: str = "", code: str = "json_invalid") -> Problem:
    """Refuse what is not JSON, or a header that cannot be read."""
    return Problem("malformed_request", detail, (Flaw(pointer, code, detail),))


def unauthorized(detail: str) -> Problem:
    """Refuse a missing token, or one that does not hold."""
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def forbidden(detail: str) -> Problem:
    """Say that the caller lacks the role or scope."""
    return Problem("forbidden", detail)


def not_found(kind: str = "resource") -> Problem:
    """Hide what is unknown, no UUID, or somebody else's: all alike."""
    return Problem("not_found", f"No such {kind}")


class Hidden(Problem):
    """What is asked for is there, and not for the caller: the answer says nothing of that.

    A class of its own for those who record what was tried.
    """

    def __init__(self, kind: str) -> None:
        super().__init__("not_found", not_found(kind).detail)


def absent(detail: str) -> Problem:
    """Say what there is not, to who may know."""
    return Problem("not_found", detail)


def method_not_allowed(method: str, allow: str) -> Problem:
    """Say that the path exists; `allow` lists what it answers to."""
    return Problem("method_not_allowed", f"{method} is not allowed here", headers={"Allow": allow})


def request_timeout(seconds: float, what: str = "body") -> Problem:
    """Say that head or body did not arrive in time; the connection ends."""
    detail = f"The request's {what} did not arrive within {seconds:g} seconds"
    return Problem("request_timeout", detail, headers={"Connection": "close"})


def conflict(detail: str, current_status: str) -> Problem:
    """Refuse what is not legal in the present state."""
    return Problem("conflict", detail, current_status=current_status)


def too_large(limit: int) -> Problem:
    """Say that the body has more than `limit` bytes."""
    detail = f"The request body is larger than {limit} bytes"
    return Problem("too_large", detail, headers={"Connection": "close"})


def unsupported_media_type(found: str) -> Problem:
    """Say that the body is not what the operation reads."""
    detail = f"Content-Type must be application/json in UTF-8, not {found[:100]!r}"
    return Problem("unsupported_media_type", detail, headers={"Accept": "application/json"})


def range_not_satisfiable(what: str, size: int) -> Problem:
    """Say that the asked range starts behind the end of `size` bytes."""
    headers = {"Content-Range": f"bytes */{size}"}
    return Problem("range_not_satisfiable", f"The {what} has {size} bytes", headers=headers)


def invalid_input(*flaws: Flaw) -> Problem:
    """Refuse well-formed input that breaks rules."""
    first = flaws[0]
    detail = f"{first.pointer}: {first.message}" if first.pointer else first.message
    if len(flaws) > 1:
        detail += f" (and {len(flaws) - 1} more)"
    return Problem("invalid_input", detail, flaws)


def invalid_field(pointer: str, code: str, message: str) -> Problem:
    """Refuse one field that breaks a rule."""
    return invalid_input(Flaw(pointer, code, message))


def rate_limited(detail: str, headers: Mapping[str, str]) -> Problem:
    """Refuse for now; `headers` say when to come back."""
    return Problem("rate_limited", detail, headers=headers)


def unavailable(detail: str) -> Problem:
    """Say that something that is needed cannot be reached just now."""
    return Problem("unavailable", detail, headers={"Retry-After": "1"})


def internal_error() -> Problem:
    """Own up to a defect; the log has the rest, under the request id."""
    return Problem("internal_error", "Something went wrong on our side")


def problem_of(rejected: CommandRejected) -> Problem:
    """Return the problem for a command that the rules refused."""
    match rejected:
        case NotFound():
            return not_found(rejected.kind)
        case NotLegal():
            return conflict(rejected.detail, rejected.current_status)
        case AlreadyTaken():
            return conflict(rejected.detail, "taken")
        case NotGranted():
            return forbidden(rejected.detail)
        case _:
            return invalid_field("", "refused", rejected.detail)


def problem_of_validation(error: ValidationError, *prefix: str | int) -> Problem:
    """Return the problem for what a request model refused; never echoes the input."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return invalid_input(
        *(Flaw(pointer_of((*prefix, *flaw["loc"])), flaw["type"], flaw["msg"]) for flaw in found)
    )


def pointer_of(path: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer of a path; pydantic's mark of a key is no part of it."""
    return "".join(
        "/" + str(part).replace("~", "~0").replace("/", "~1") for part in path if part != "[key]"
    )
