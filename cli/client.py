"""HTTP for the client commands: one kept connection, answers as values, refusals as exit codes.

Knows no resource of the API. Not httpx2: that takes 250 ms to import.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from reactorcide.cli import exits
from reactorcide.cli.connection import BrokenAnswerError, Connection, Incoming
from reactorcide.cli.exits import Stop

BASE: Final = "/api/v1"
ANSWER_SECONDS: Final = 60.0

_FIRST_REFUSAL: Final = 400
_UNAUTHORIZED: Final = 401
_EXIT_OF_STATUS: Final = {
    400: exits.USAGE,
    401: exits.DENIED,
    403: exits.DENIED,
    404: exits.NOT_FOUND,
    405: exits.USAGE,
    409: exits.CONFLICT,
    412: exits.CONFLICT,
    413: exits.USAGE,
    415: exits.USAGE,
    416: exits.USAGE,
    422: exits.USAGE,
    428: exits.CONFLICT,
    429: exits.RATE_LIMITED,
}


_CLOSED: Final = (BrokenAnswerError, ConnectionResetError, BrokenPipeError)


class Unreachable(Exception):  # noqa: N818  named by what is so, like the database's errors
    """The server didn't answer, or stopped answering in the middle."""


class Refused(Stop):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], hints: tuple[str, ...]) -> None:
        reason = str(problem.get("message") or problem.get("title") or f"HTTP status {status}")
        super().__init__(_EXIT_OF_STATUS.get(status, exits.UNAVAILABLE), reason, *hints)
        self.status = status
        self.problem = problem


class Answer(NamedTuple):
    """A 2xx answer, read to its end. Header names in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the content's value."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            message = "the answer is not JSON: is this the API's address?"
            raise Unreachable(message) from error


class Client:
    """One API and one token. Not for more than one thread.

    Connects when first used. A call raises Refused, or Unreachable.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._root = parts.path
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = Connection(parts.scheme, parts.hostname or "", parts.port)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON at a path below the API's base."""
        return self.call("GET", path, query=query).json()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask and read the whole answer.

        Asks again, once, on a new connection when the server closes this one, if the request
        may be repeated: it changes nothing, or it carries an Idempotency-Key.
        """
        sent = {"Accept": "application/json", **(headers or {})}
        is_repeatable = method == "GET" or "Idempotency-Key" in sent
        tries = 2 if is_repeatable else 1
        while True:
            tries -= 1
            try:
                incoming = self._open(method, _target(path, query), body, sent, ANSWER_SECONDS)
                return self._answer(incoming, incoming.read_all())
            except OSError as error:
                self.close()
                if not tries or not isinstance(error, _CLOSED):
                    raise Unreachable(_why(error)) from error

    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: Callable[[], float] = lambda: ANSWER_SECONDS,
        opened: Callable[[Mapping[str, str]], None] = lambda _headers: None,
    ) -> Generator[bytes]:
        """Yield the answer's content as it comes, in no particular pieces.

        Tells `opened` the headers of a good answer before its first piece. Asks `patience` before
        each piece for how many seconds it may take: Unreachable after that, and when the answer
        breaks off.
        """
        try:
            incoming = self._open("GET", _target(path, query), None, headers or {}, patience())
            if incoming.status >= _FIRST_REFUSAL:
                self._answer(incoming, incoming.read_all())
            opened(incoming.headers)
            while piece := incoming.read_some():
                yield piece
                incoming.set_patience(patience())
        except OSError as error:
            raise Unreachable(_why(error)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()

    def _open(
        self,
        method: str,
        target: str,
        body: Any,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Incoming:
        content = b"" if body is None else json.dumps(body).encode()
        typed = {} if body is None else {"Content-Type": "application/json"}
        sent = {"User-Agent": "reactorcide-cli", **self._authorization, **typed, **headers}
        return self._connection.request(method, self._root + target, sent, content, seconds)

    def _answer(self, incoming: Incoming, content: bytes) -> Answer:
        if not incoming.leaves_open:
            self.close()
        status, headers = incoming.status, incoming.headers
        if status < _FIRST_REFUSAL:
            return Answer(status, headers, content)
        problem = _problem(content)
        raise Refused(status, problem, tuple(_hints(status, headers, problem, self)))

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return bool(self._authorization)


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    given = [(name, value) for name, value in (query or {}).items() if value is not None]
    asked = f"?{urlencode(given, doseq=True)}" if given else ""
    root = "" if path.startswith("/readyz") else BASE
    return f"{root}{path}{asked}"


def segment(text: str) -> str:
    """Return the text as one segment of a path."""
    return quote(text, safe="")


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _hints(
    status: int, headers: Mapping[str, str], problem: Mapping[str, Any], client: Client
) -> Iterator[str]:
    """Yield what helps and was not said yet: what is wrong where, when to come back, a token."""
    for wrong in problem.get("errors") or ():
        hint = f"{wrong.get('pointer') or '/'}: {wrong.get('message')}"
        if hint != problem.get("message"):
            yield hint
    if problem.get("current_status"):
        yield f"its status is {problem['current_status']}"
    if status in {429, 503} and "retry-after" in headers:
        yield f"try again in {headers['retry-after']} s"
    if status == _UNAUTHORIZED and not client.has_token:
        yield "set REACTORCIDE_API_TOKEN, or make one: reactorcide token create --user NAME"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)
