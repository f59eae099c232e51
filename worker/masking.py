"""Hides secret values in what a command prints, whatever way the bytes arrive in pieces.

As they are and in the forms of `encodings`, found in one pass. It knows nothing of streams,
logs or jobs.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from reactorcide.worker.encodings import forms

MASK: Final = b"***"

_HEAD_BYTES: Final = 4
_SHORT_BYTES: Final = 2 * _HEAD_BYTES
_SEARCHED_BYTES: Final = 16 * 1024
_WRAPPED_LETTERS: Final = 48
_LETTERS_OF_CODES: Final = frozenset(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/_-"
)
_KINDS: Final = bytes(
    byte if byte in b"\r\n" else ord("a") if byte in _LETTERS_OF_CODES else ord(" ")
    for byte in range(256)
)
_WRAPPED: Final = (b"a" * _WRAPPED_LETTERS + b"\n", b"a" * _WRAPPED_LETTERS + b"\r")

Span: TypeAlias = tuple[int, int]
"""Where something begins, and where it has ended."""


class Patterns:
    """What some values look like, ready to be searched for; shared by any number of streams.

    Searching takes time by the length of the text, however many values there are.
    """

    def __init__(self, values: Iterable[str]) -> None:
        # 1 ms to import, and only jobs with secrets need it.
        from ahocorasick_rs import BytesAhoCorasick  # noqa: PLC0415

        literals = sorted({form for value in values if value for form in forms(value)})
        self.longest = max(map(len, literals), default=0)
        short = [literal for literal in literals if len(literal) <= _SHORT_BYTES]
        if short:
            self._automaton = BytesAhoCorasick(short)
            literals = [one for one in literals if not self._is_made_of_others(one)]
        self._automaton = BytesAhoCorasick(literals)
        self._sorted = literals
        self._heads = {
            literal[:length]
            for literal in literals
            for length in range(1, min(_HEAD_BYTES, len(literal)) + 1)
        }
        self._inner = frozenset(b"".join([literal[:-1] for literal in literals]))

    def _is_made_of_others(self, literal: bytes) -> bool:
        """Whether shorter ones hide all of it anyway: then nothing is lost without it."""
        parts = [span for span in self._matches(literal) if span != (0, len(literal))]
        return bool(parts) and next(_merged(parts)) == (0, len(literal))

    def look(self, text: bytes, before: bytes = b"") -> tuple[list[Span], int]:
        """Return what must not show, in order, overlapping ones as one; and what is open.

        That is where the longest end of the text begins that a pattern may begin with. `before`
        is what stood before the text: it tells where lines were only wrapped.
        """
        found, open_at = self._matches(text), self._open_at(text)
        breaks = _soft_breaks(text, before)
        if breaks:
            view = _Unwrapped(text, breaks)
            found += map(view.span_in_text, self._matches(view.text))
            open_at = min(open_at, view.place_in_text(self._open_at(view.text)))
        return list(_merged(found)) if found else found, open_at

    def hide(self, text: bytes) -> bytes:
        """Return a text that is whole, masked."""
        return b"".join(_shown(text, self.look(text)[0]))

    def _matches(self, text: bytes) -> list[Span]:
        """Return all occurrences of all patterns, overlapping ones too."""
        found: list[Span] = []
        # In parts: what repeats itself may match at every byte.
        for at in range(0, len(text), _SEARCHED_BYTES):
            part = text[at : at + _SEARCHED_BYTES + self.longest]
            matches = self._automaton.find_matches_as_indexes(part, overlapping=True)
            found += [(at + start, at + stop) for _, start, stop in matches]
        return found

    def _open_at(self, text: bytes) -> int:
        if text and text[-1] not in self._inner:
            return len(text)
        for at in range(max(0, len(text) - self.longest + 1), len(text)):
            if text[at : at + _HEAD_BYTES] in self._heads and self._begins_one(text[at:]):
                return at
        return len(text)

    def _begins_one(self, end: bytes) -> bool:
        """Whether a pattern begins with this and is longer."""
        at = bisect_right(self._sorted, end)
        return at < len(self._sorted) and self._sorted[at].startswith(end)


class _Unwrapped:
    """A text as if its soft line breaks were not there."""

    def __init__(self, text: bytes, breaks: Sequence[Span]) -> None:
        parts, at, removed = [], 0, 0
        self._starts: list[int] = []  # of the parts, in the text without breaks
        self._shifts: list[int] = []  # what to add there for the place in the text
        for start, stop in (*breaks, (len(text), len(text))):
            self._starts.append(at - removed)
            self._shifts.append(removed)
            parts.append(text[at:start])
            removed += stop - start
            at = stop
        self.text = b"".join(parts)

    def place_in_text(self, at: int) -> int:
        """Return where in the text something begins."""
        return at + self._shifts[bisect_right(self._starts, at) - 1]

    def span_in_text(self, span: Span) -> Span:
        """Return a span of the text, breaks within it included."""
        return self.place_in_text(span[0]), self.place_in_text(span[1] - 1) + 1


def _soft_breaks(text: bytes, before: bytes) -> list[Span]:
    """Return where a long text in base64 or hex, as it seems, goes on in the next line."""
    kinds, size = (before + text).translate(_KINDS), len(before)
    found = []
    for wrapped in _WRAPPED:
        at = kinds.find(wrapped)
        while at >= 0:
            start = at + _WRAPPED_LETTERS
            stop = start + 1
            if wrapped[-1:] == b"\r" and kinds[stop : stop + 1] == b"\n":
                stop += 1
            if start >= size and (wrapped[-1:] == b"\n" or stop == start + 2 or stop == len(kinds)):
                found.append((start - size, stop - size))
            at = kinds.find(wrapped, stop)
    return sorted(found)


class Masker:
    """Replaces every occurrence of the patterns in one stream of bytes by `***`.

    Occurrences that overlap are hidden as one, so that no letter of the longer of two
    values shows behind the shorter. The result does not depend on where the pieces were
    cut. Less than the length of the longest pattern is held back, and only while the end of
    what has arrived could be the beginning of one.
    """

    def __init__(self, patterns: Patterns | None) -> None:
        """None: nothing is secret, and bytes pass as they are."""
        self._patterns = patterns
        self._held = b""
        self._before = b""
        self._covered = 0  # so many of the held bytes belong to a mask that is already out

    def feed(self, piece: bytes) -> bytes:
        """Return what may be shown now that `piece` has arrived; perhaps nothing yet."""
        if self._patterns is None:
            return piece
        text = self._held + piece
        spans, open_at = self._patterns.look(text, self._before)
        return self._show(text, open_at, spans)

    def finish(self) -> bytes:
        """Return the rest: the stream has ended, so what was held back begins no value."""
        if self._patterns is None or not self._held:
            return b""
        text = self._held
        return self._show(text, len(text), self._patterns.look(text, self._before)[0])

    def _show(self, text: bytes, end: int, spans: list[Span]) -> bytes:
        """Return `text[:end]` masked, and hold the rest back.

        No occurrence that starts before `end` is incomplete: else it would be held back too.
        """
        shown: list[bytes] = []
        at, reach = 0, self._covered
        if self._covered:
            spans = list(_merged([(0, self._covered), *spans]))
        for start, stop in spans:
            if start >= end:
                break
            is_out = start == 0 and self._covered > 0
            shown += (text[at:start], b"" if is_out else MASK)
            at, reach = min(stop, end), stop
        shown.append(text[at:end])
        self._held, self._covered = text[end:], max(0, reach - end)
        self._before = (self._before + text[:end])[-_WRAPPED_LETTERS:]
        return b"".join(shown)


def _merged(spans: list[Span]) -> Iterator[Span]:
    """Yield spans in order, overlapping ones as one."""
    spans.sort()
    start, stop = spans[0]
    for next_start, next_stop in spans:
        if next_start >= stop:
            if stop > start:
                yield start, stop
            start = next_start
        stop = max(stop, next_stop)
    if stop > start:
        yield start, stop


def _shown(text: bytes, spans: Iterable[Span]) -> Iterator[bytes]:
    at = 0
    for start, stop in spans:
        yield text[at:start]
        yield MASK
        at = stop
    yield text[at:]
