"""Durations as people write them on the command line: 90s, 15m, 12h, 30d."""

import re
from typing import Final

ALLOWED: Final = "a number with s, m, h or d: 90s, 15m, 12h, 30d"

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHAPE: Final = re.compile(r"([0-9]{1,12})([smhd])", re.ASCII)
_LONGEST_SECONDS: Final = 36_500 * 86_400


def seconds_in(text: str) -> int:
    """Return the seconds that `text` means. Raises ValueError, its text is what is allowed."""
    found = _SHAPE.fullmatch(text.strip())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError(ALLOWED)
    return seconds
