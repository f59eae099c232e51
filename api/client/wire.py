"""Requests and answers as httpx2 has them, the same for both shells. Sends nothing."""

import os
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

import httpx2

from reactorcide.api.client.steps import Answer, Ask, Lost, Open

_BASE: Final = "/api/v1"
_DEFAULT_URL: Final = "http://127.0.0.1:6080"

LIMITS: Final = httpx2.Limits(
    # Shorter than the server's 5 s: a request never meets a connection that is just being closed.
    keepalive_expiry=4.0,
    max_connections=None,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the API is, and with which token it is asked."""

    url: str
    token: str | None = field(repr=False)

    @classmethod
    def given(cls, url: str | None, token: str | None) -> Self:
        """Return what is given, else what the environment says now. Raises ValueError."""
        found = url or os.environ.get("REACTORCIDE_API_URL") or _DEFAULT_URL
        parts = urlsplit(found)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"the API's address must be an http or https URL, not {found!r}"
            raise ValueError(msg)
        text = (token or os.environ.get("REACTORCIDE_API_TOKEN") or "").strip()
        if not (text.isascii() and text.isprintable()):
            msg = "the token holds characters that no token has"
            raise ValueError(msg)
        return cls(found.rstrip("/"), text or None)

    def request(self, step: Ask | Open) -> httpx2.Request:
        """Return the step's request, with its timeouts."""
        asked = step.request
        headers = {"User-Agent": "reactorcide-client", **asked.headers}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        silent = step.silent_seconds if isinstance(step, Open) else step.timeout_seconds
        timeout = httpx2.Timeout(step.timeout_seconds, read=silent)
        return httpx2.Request(
            asked.method,
            f"{self.url}{_BASE}{asked.path}",
            params=dict(asked.query) or None,
            headers=headers,
            content=asked.content,
            extensions={"timeout": timeout.as_dict()},
        )


def is_refusal(response: httpx2.Response) -> bool:
    """Tell whether the answer is to be read to its end before anything else."""
    return not response.is_success


def answer_of(response: httpx2.Response, content: bytes = b"") -> Answer:
    """Return the answer, its content read or not yet."""
    return Answer(response.status_code, response.headers, content)


def lost(error: httpx2.RequestError) -> Lost:
    """Return what went wrong on the way, in words."""
    if isinstance(error, httpx2.TimeoutException):
        return Lost("no answer in time")
    return Lost(str(error) or type(error).__name__)
