"""Follow all that happens, without end, over broken streams and restarts of the API."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from reactorcide.cli.client import Client, Refused, Unreachable
from reactorcide.cli.following import SILENT_SECONDS, WITHOUT_API_SECONDS
from reactorcide.cli.sse import events_in

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Tail:
    """The events behind position `after` (None: from now on), each once and in order.

    A stream that ends or breaks is taken up where it broke. `begun` gets the position behind
    which the first one began. Raises Refused, and Unreachable after a minute without the API.
    """

    def __init__(self, client: Client, after: int | None, begun: Callable[[int], None]) -> None:
        self._client = client
        self._after = after
        self._begun: Callable[[int], None] | None = begun
        self._heard_at = time.monotonic()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield each event as the API has it."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began_at, reason = self._heard_at, "the stream ended"
            try:
                yield from self._read_stream()
            except Refused as error:
                if error.status < 500 and error.status != 429:  # noqa: PLR2004
                    raise
                reason = error.message
            except Unreachable as error:
                reason = str(error)
            if time.monotonic() - self._heard_at > WITHOUT_API_SECONDS:
                raise Unreachable(reason)
            pause = _FIRST_PAUSE_SECONDS if began_at != self._heard_at else pause
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _read_stream(self) -> Iterator[Mapping[str, Any]]:
        pieces = self._client.stream(
            "/events/stream",
            query={"after": self._after},
            headers={"Accept": "text/event-stream"},
            patience=lambda: SILENT_SECONDS,
        )
        with contextlib.closing(pieces):
            for event in events_in(self._heard(pieces)):
                if event.type == "dropped":
                    return
                told = json.loads(event.data)
                self._stands_at(told["position"])
                if event.type != "heartbeat":
                    yield told

    def _stands_at(self, position: int) -> None:
        self._after = position
        if self._begun is not None:
            self._begun(position)
            self._begun = None

    def _heard(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._heard_at = time.monotonic()
            yield piece
