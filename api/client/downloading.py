"""A file that is fetched piece by piece, over as many connections as it takes. A program.

What came is held against the digest that the API told: a file is whole, or an error.
"""

import hashlib
from dataclasses import replace
from typing import Final

from reactorcide.api.client.asking import pause
from reactorcide.api.client.errors import NotUnderstood, Unavailable, error_of
from reactorcide.api.client.steps import Feed, Lost, Open, Pause, Read, Request, Show

_TRIES: Final = 4
_PARTIAL: Final = 206


class Download:
    """One download. `timeout_seconds` is for each step: a connection, and each piece."""

    def __init__(self, request: Request, timeout_seconds: float) -> None:
        self._request = request
        self._timeout_seconds = timeout_seconds
        self._digest = hashlib.sha256()
        self._taken = 0
        self._tag = ""
        self._losses = 0

    def pieces(self) -> Feed[bytes]:
        """Show the content. Raises Unavailable, Refused, NotUnderstood."""
        while True:
            yield from self._open()
            while not isinstance(reply := (yield Read()), Lost):
                if not reply.content:
                    self._check()
                    return
                self._losses = 0
                self._taken += len(reply.content)
                self._digest.update(reply.content)
                yield Show(reply.content)
            yield from self._again(Unavailable(reply.reason))

    def _open(self) -> Feed[bytes]:
        """Open the stream where the last one broke."""
        while True:
            reply = yield Open(self._asked(), self._timeout_seconds, self._timeout_seconds)
            error = error_of(reply)
            if error is None and not isinstance(reply, Lost):
                tag = reply.headers.get("etag", "")
                if self._taken and (reply.status != _PARTIAL or tag != self._tag):
                    reason = "the file is another one than at the beginning"
                    raise NotUnderstood(reason)
                self._tag = tag
                return
            if error is not None:
                yield from self._again(error)

    def _asked(self) -> Request:
        if not self._taken:
            return self._request
        more = {"Range": f"bytes={self._taken}-", "If-Range": self._tag}
        return replace(self._request, headers={**self._request.headers, **more})

    def _again(self, error: Exception) -> Feed[bytes]:
        """Pause before another try; raise the error when that would be in vain."""
        self._losses += 1
        seconds = pause(error, self._losses) if isinstance(error, Unavailable) else None
        if seconds is None or self._losses >= _TRIES:
            raise error
        yield Pause(seconds)

    def _check(self) -> None:
        if self._tag != f'"{self._digest.hexdigest()}"':
            reason = "the file is not what was kept: its digest is another one"
            raise NotUnderstood(reason)
