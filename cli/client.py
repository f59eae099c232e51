"""HTTP for the client commands: one kept connection, answers as values, refusals as exit codes.

The standard library alone: httpx2 takes 250 ms to import, and `run` has 150 for all it does.
Knows no resource of the API.
"""

import http.client
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from reactorcide.cli import exits
from reactorcide.cli.exits import Stop

BASE: Final = "/api/v1"
ANSWER_SECONDS: Final = 60.0

_CHUNK_BYTES: Final = 65_536
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


class Unreachable(Exception):  # noqa: N818  named by what is so, like the database's errors
    """The server didn't answer, or stopped answering in the middle."""


class Refused(Stop):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], hints: tuple[str, ...]) -> None:
        reason = str(problem.get("message") or problem.get("title") or f"HTTP status {status}")
        super().__init__(_EXIT_OF_STATUS.get(status, exits.UNAVAILABLE), reason, *hints)
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Answer:
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
        self._is_tls = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port)
        self._root = parts.path
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: http.client.HTTPConnection | None = None

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

        Asks again, once, on a new connection when the old one turns out to be closed, if the
        request may be repeated: it changes nothing, or it carries an Idempotency-Key.
        """
        sent = {"Accept": "application/json", **(headers or {})}
        is_repeatable = method == "GET" or "Idempotency-Key" in sent
        tries = 2 if is_repeatable else 1
        while True:
            tries -= 1
            try:
                response = self._open(method, _target(path, query), body, sent, ANSWER_SECONDS)
                return self._answer(response, response.read())
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A refused connection was no request: nothing is better a moment later.
                if not tries or isinstance(error, (ConnectionRefusedError, TimeoutError)):
                    raise Unreachable(_why(error)) from error

    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: Callable[[], float] = lambda: ANSWER_SECONDS,
    ) -> Generator[bytes]:
        """Yield the answer's content as it comes, in no particular pieces.

        Asks `patience` before each piece for how many seconds it may take: Unreachable after
        that, and when the answer breaks off.
        """
        try:
            response = self._open("GET", _target(path, query), None, headers or {}, patience())
            if response.status >= http.client.BAD_REQUEST:
                self._answer(response, response.read())
            while piece := response.read1(_CHUNK_BYTES):
                yield piece
                if self._connection is not None and self._connection.sock is not None:
                    self._connection.sock.settimeout(patience())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_why(error)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(
        self,
        method: str,
        target: str,
        body: Any,
        headers: Mapping[str, str],
        seconds: float,
    ) -> http.client.HTTPResponse:
        connection = self._connected(seconds)
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        typed = {} if content is None else {"Content-Type": "application/json"}
        connection.request(
            method,
            self._root + target,
            content,
            {"User-Agent": "reactorcide-cli", **self._authorization, **typed, **headers},
        )
        return connection.getresponse()

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
            self._connection = kind(*self._address, timeout=seconds)
        self._connection.timeout = seconds
        if self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
        return self._connection

    def _answer(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        if response.status < http.client.BAD_REQUEST:
            return Answer(response.status, headers, content)
        problem = _problem(content)
        raise Refused(
            response.status, problem, tuple(_hints(response.status, headers, problem, self))
        )

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
    """Yield what helps: what is wrong where, when to come back, how to get a token."""
    for wrong in problem.get("errors") or ():
        yield f"{wrong.get('pointer') or '/'}: {wrong.get('message')}"
    if problem.get("current_status"):
        yield f"its status is {problem['current_status']}"
    if status in {429, 503} and "retry-after" in headers:
        yield f"try again in {headers['retry-after']} s"
    if status == http.client.UNAUTHORIZED and not client.has_token:
        yield "set REACTORCIDE_API_TOKEN, or make one: reactorcide token create --user NAME"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)
