"""Follow a job's log to its end, over broken streams and restarts of the API."""

import binascii
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from reactorcide.cli.client import Client, Refused, Unreachable, segment
from reactorcide.cli.sse import ServerSentEvent, events_in

Write: TypeAlias = Callable[[str, bytes], None]
"""Takes the stream's name and what was printed there."""

# The API gives a sign of life every 15 s.
SILENT_SECONDS: Final = 45.0
WITHOUT_API_SECONDS: Final = 60.0

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0


class GaveUpError(Exception):
    """The deadline passed before the job ended."""


class Ended(NamedTuple):
    """How the job ended. `exit_code` None: its command never ran."""

    status: str
    exit_code: int | None


class Follower:
    """Follows one job's log; `write` gets each piece once, in order.

    `deadline` (of time.monotonic): when to give up. A stream that breaks is taken up where it
    broke; after a minute without the API that ends in Unreachable.
    """

    def __init__(
        self,
        client: Client,
        job_id: str,
        write: Write,
        *,
        deadline: float | None = None,
        query: dict[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._path = f"/jobs/{segment(job_id)}/logs"
        self._write = write
        self._deadline = deadline
        self._query = query
        self._last_id: str | None = None
        self._heard_at = time.monotonic()

    def run(self) -> Ended:
        """Return when the job has ended. Raises GaveUpError, Refused, Unreachable."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            last_id, reason = self._last_id, "the stream ended too early"
            try:
                if (ended := self._read_stream()) is not None:
                    return ended
            except Refused as error:
                if error.status < 500 and error.status != 429:  # noqa: PLR2004
                    raise
                reason = error.message
            except Unreachable as error:
                reason = str(error)
            pause = _FIRST_PAUSE_SECONDS if last_id != self._last_id else pause
            self._wait(pause, reason)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _read_stream(self) -> Ended | None:
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        pieces = self._client.stream(
            self._path, query=self._query, headers=headers, patience=self._patience
        )
        with contextlib.closing(pieces):
            for event in events_in(self._heard(pieces)):
                if event.type == "end":
                    return _ended(event)
                if event.type == "log":
                    self._take(event)
        return None

    def _take(self, event: ServerSentEvent) -> None:
        frame = json.loads(event.data)
        exact = frame.get("data_base64")
        data = frame["data"].encode() if exact is None else binascii.a2b_base64(exact)
        self._write(frame["stream"], data)
        self._last_id = event.last_id

    def _heard(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._heard_at = time.monotonic()
            yield piece

    def _patience(self) -> float:
        """Return for how many seconds the stream may be silent now."""
        if self._deadline is None:
            return SILENT_SECONDS
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise GaveUpError
        return min(left, SILENT_SECONDS)

    def _wait(self, seconds: float, reason: str) -> None:
        if time.monotonic() - self._heard_at > WITHOUT_API_SECONDS:
            raise Unreachable(reason)
        time.sleep(min(seconds, self._patience()))


def _ended(event: ServerSentEvent) -> Ended:
    end = json.loads(event.data)
    return Ended(end["status"], end["exit_code"])
