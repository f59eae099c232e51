"""Progress of long work on standard error: one moving line on a terminal, few lines elsewhere."""

import sys
import time
from typing import Final

from reactorcide.cli.output import note

_MOVING_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 5.0


class Progress:
    """Told how much is done of how much; says so now and then. Call `end` when it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._moves = sys.stderr.isatty()
        self._interval = _MOVING_SECONDS if self._moves else _LINE_SECONDS
        self._said_at = time.monotonic()
        self._has_line = False

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, unless that was said just now."""
        now = time.monotonic()
        if now - self._said_at < self._interval:
            return
        self._said_at = now
        share = f"{done / total:.0%}" if total else ""
        text = f"{self._what}: {done:,} of {total:,} {share}"
        if self._moves:
            self._has_line = True
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        else:
            note(text)

    def end(self) -> None:
        """Clear the moving line."""
        if self._has_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
