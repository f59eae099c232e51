"""Signals that come while a server's modules are still being imported."""

import signal
import sys
from types import FrameType


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end the program with 0 until its own handlers are in place.

    What is open by then is closed on the way out.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
