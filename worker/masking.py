"""Hides secret values in what a command prints, whatever way the bytes arrive in pieces.

Exact values only, as bytes; it knows nothing of encodings, streams or logs.
"""

from collections.abc import Iterable, Iterator
from typing import Final

MASK: Final = b"***"


class Masker:
    """Replaces every occurrence of the values in one stream of bytes by `***`.

    Occurrences that overlap are hidden as one, so that no letter of the longer of two
    values shows behind the shorter. The result does not depend on where the pieces were
    cut. Less than the length of the longest value is held back, and only while the end of
    what has arrived could be the beginning of a value.
    """

    def __init__(self, values: Iterable[str]) -> None:
        encoded = {value.encode("utf-8", "surrogateescape") for value in values if value}
        self._values = sorted(encoded, key=len, reverse=True)
        self._held = b""
        self._covered = 0  # so many of the held bytes belong to a mask that is already out

    def feed(self, piece: bytes) -> bytes:
        """Return what may be shown now that `piece` has arrived; perhaps nothing yet."""
        if not self._values:
            return piece
        text = self._held + piece
        return self._show(text, len(text) - self._open_end(text))

    def finish(self) -> bytes:
        """Return the rest: the stream has ended, so what was held back begins no value."""
        return self._show(self._held, len(self._held)) if self._held else b""

    def _show(self, text: bytes, end: int) -> bytes:
        """Return `text[:end]` masked, and hold the rest back.

        No occurrence that starts before `end` is incomplete: else it would be held back too.
        """
        shown: list[bytes] = []
        at, reach = 0, self._covered
        for start, stop in self._regions(text):
            if start >= end:
                break
            is_out = start == 0 and self._covered > 0
            shown += (text[at:start], b"" if is_out else MASK)
            at, reach = min(stop, end), stop
        shown.append(text[at:end])
        self._held, self._covered = text[end:], max(0, reach - end)
        return b"".join(shown)

    def _regions(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of what must not show, in order, overlapping values as one."""
        spans = [span for value in self._values for span in _occurrences(text, value)]
        start, stop = 0, self._covered
        for next_start, next_stop in sorted(spans):
            if next_start >= stop:
                if stop:
                    yield start, stop
                start = next_start
            stop = max(stop, next_stop)
        if stop:
            yield start, stop

    def _open_end(self, text: bytes) -> int:
        """Return the length of the longest end of `text` that begins a value without filling it."""
        return max(len(text) - _open_at(text, value) for value in self._values)


def _open_at(text: bytes, value: bytes) -> int:
    """Return where `text` ends with a beginning of `value`, the longest; its end when nowhere."""
    at = text.find(value[:1], max(0, len(text) - len(value) + 1))
    while at >= 0 and not value.startswith(text[at:]):
        at = text.find(value[:1], at + 1)
    return at if at >= 0 else len(text)


def _occurrences(text: bytes, value: bytes) -> Iterator[tuple[int, int]]:
    at = text.find(value)
    while at >= 0:
        yield at, at + len(value)
        at = text.find(value, at + 1)
