"""How much of an attempt's log is kept: its beginning, then a mark. Sends nothing."""

from typing import Final

LOG_BYTES: Final = 100 * 1024 * 1024
"""Of one attempt, unless the worker's settings say otherwise."""


class LogCap:
    """Lets through the first `limit` bytes; the mark is given once, when there are more."""

    def __init__(self, limit: int = LOG_BYTES) -> None:
        self._limit = limit
        self._left = limit
        self.is_full = False
        """Nothing more is let through."""

    def cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of it is kept, and the mark that follows; the latter is mostly empty."""
        if self.is_full or not data:
            return b"", b""
        kept = data[: self._left]
        self._left -= len(kept)
        if len(kept) == len(data):
            return kept, b""
        self.is_full = True
        return kept, f"\nlog truncated: only the first {self._limit} bytes are kept\n".encode()
