"""What a call can raise. Knows which answer means which; sends nothing.

ClientError
├── Unavailable             no connection, no answer in time, or 502, 503, 504
├── NotUnderstood           the answer is not this API's
├── NotEnded                the time to wait is over, the job is not (a TimeoutError)
└── Refused                 the API said no: problem details (RFC 9457)
    ├── NotAuthenticated    401
    ├── Forbidden           403
    ├── NotFound            404
    ├── Conflict            409
    ├── InvalidInput        400, 422
    └── RateLimited         429
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from reactorcide.api.client.steps import Answer, Lost, Reply

_FIRST_REFUSAL: Final = 300
_UNAVAILABLE: Final = frozenset({502, 503, 504})


class Flaw(BaseModel):
    """One thing wrong with the input, and where (a JSON Pointer)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pointer: str = ""
    code: str = ""
    message: str = ""


class Problem(BaseModel):
    """The problem details of a refusal, with what is missing left empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str = ""
    message: str = ""
    request_id: str | None = None
    current_status: str | None = None
    errors: Annotated[tuple[Flaw, ...], BeforeValidator(lambda found: found or ())] = ()


class ClientError(Exception):
    """The base of what a call can raise."""


class Unavailable(ClientError):  # noqa: N818 - named by what is so
    """The API can't be reached, or its database can't; whether it acted is not known."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class NotUnderstood(ClientError):  # noqa: N818 - as above
    """The answer is not what this API gives; it may be another address."""


class NotEnded(ClientError, TimeoutError):  # noqa: N818 - as above
    """The time to wait is over; the job goes on, untouched."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"the job had not ended after {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds


class Refused(ClientError):  # noqa: N818 - as above
    """The API refused. `error` is the stable code, `message` is for people."""

    def __init__(
        self, status: int, problem: Problem, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(status, problem, retry_after_seconds)
        self.status = status
        self.error = problem.error
        self.message = problem.message or f"HTTP status {status}"
        self.request_id = problem.request_id
        self.errors = problem.errors
        """What is wrong where, for invalid input; else empty."""
        self.current_status = problem.current_status
        """Where the thing stands that does not allow the command; for conflicts."""
        self.retry_after_seconds = retry_after_seconds
        """When to come back; for limits."""

    def __str__(self) -> str:
        """Return the message, and the id that finds it in the server's log."""
        known = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({self.status}{known})"


class NotAuthenticated(Refused):
    """No token was sent, or one that does not hold."""


class Forbidden(Refused):
    """The token lacks the role or the scope."""


class NotFound(Refused):
    """An unknown id, or somebody else's."""


class Conflict(Refused):
    """Not legal in the present state; `current_status` names it."""


class InvalidInput(Refused):
    """The request breaks a rule; `errors` say which fields, and how."""


class RateLimited(Refused):
    """Too many requests; `retry_after_seconds` says when to come back."""


_KINDS: Final[Mapping[int, type[Refused]]] = {
    400: InvalidInput,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
    429: RateLimited,
}


def error_of(reply: Reply) -> Unavailable | Refused | None:
    """Return what the reply means when it is no success."""
    if isinstance(reply, Lost):
        return Unavailable(reply.reason)
    if reply.status < _FIRST_REFUSAL:
        return None
    problem, retry_after = _problem_of(reply), _retry_after_of(reply)
    if reply.status in _UNAVAILABLE:
        return Unavailable(problem.message or f"HTTP status {reply.status}", retry_after)
    return _KINDS.get(reply.status, Refused)(reply.status, problem, retry_after)


def _problem_of(answer: Answer) -> Problem:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:  # a proxy's page, most likely
        problem = Problem()
    if problem.request_id is None:
        return problem.model_copy(update={"request_id": answer.headers.get("x-request-id")})
    return problem


def _retry_after_of(answer: Answer) -> float | None:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None
