"""Progress of long work on standard error: one moving line on a terminal, few lines elsewhere."""

import sys
import time
from typing import Final

from reactorcide.cli.output import note

_MOVING_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 5.0
_BAR_CELLS: Final = 24
_MINUTE: Final = 60


class Progress:
    """Told how much is done of how much; says so now and then. Call `end` when it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._moves = sys.stderr.isatty()
        self._interval = _MOVING_SECONDS if self._moves else _LINE_SECONDS
        self._said_at = time.monotonic()
        self._has_line = False
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, unless that was said just now."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if now - self._said_at < self._interval:
            return
        self._said_at = now
        text = (
            f"{self._what}: {self._bar(done, total)}{done:,} of {total:,}{self._speed(done, total)}"
        )
        if self._moves:
            self._has_line = True
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        else:
            note(text)

    def _bar(self, done: int, total: int) -> str:
        """Return a bar of how much is done, where it can move, and the share."""
        share = min(done / total, 1.0) if total else 1.0
        full = round(share * _BAR_CELLS)
        bar = f"[{'#' * full}{'.' * (_BAR_CELLS - full)}] " if self._moves else ""
        return f"{bar}{share:.0%} "

    def _speed(self, done: int, total: int) -> str:
        """Return how many a second since it was told first, and how long the rest takes so."""
        if self._first is None:
            return ""
        now = time.monotonic()
        began, before = self._first
        rate = (done - before) / max(now - began, 1e-9)
        if rate <= 0:
            return ""
        left = max(total - done, 0) / rate
        return f", {rate:,.0f}/s, {_span(left)} left"

    def end(self) -> None:
        """Clear the moving line."""
        if self._has_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _span(seconds: float) -> str:
    """Write a time as `7 s` or `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
