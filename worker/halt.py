"""A request that a running attempt should stop: why, and how long its command may take to obey.

This module only carries the request, and makes it when time is over; whoever runs the command
obeys it.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum


class HaltReason(IntEnum):
    """Why an attempt is stopped. When several hold, the greatest decides the outcome."""

    DRAIN = 1
    """The worker stops: the job goes back to the queue."""
    TIMEOUT = 2
    """The job ran longer than it may."""
    CANCEL = 3
    """Somebody asked for it."""
    LOST = 4
    """The lease belongs to nobody or to another: nothing of this attempt counts any more."""


class Halt:
    """The one place where an attempt is asked to stop, by anybody, as often as they like.

    Asked again, the greater reason and the earlier end of grace count.
    """

    def __init__(self, held_until: float = float("inf")) -> None:
        self.held_until = held_until
        """Nothing of the attempt may live longer, by the clock of `supervisor.clock`; moved on by
        whoever keeps its lease."""
        self.reason: HaltReason | None = None
        self._kill_at = float("inf")
        self._listeners: list[Callable[[], None]] = []

    def ask(self, reason: HaltReason, grace_seconds: float) -> None:
        """Stop the command: TERM now and KILL `grace_seconds` later; 0: KILL now."""
        self.reason = reason if self.reason is None else max(self.reason, reason)
        self._kill_at = min(self._kill_at, asyncio.get_running_loop().time() + grace_seconds)
        for call in tuple(self._listeners):
            call()

    @property
    def is_asked(self) -> bool:
        """Whether the attempt should stop."""
        return self.reason is not None

    @property
    def grace_seconds(self) -> float:
        """How long the command may still take before KILL; not above zero: it is time."""
        return self._kill_at - asyncio.get_running_loop().time()

    def listen(self, call: Callable[[], None]) -> None:
        """Call whenever somebody asks, from now on."""
        self._listeners.append(call)

    def ignore(self, call: Callable[[], None]) -> None:
        """Call no more."""
        self._listeners.remove(call)


class Deadline:
    """Asks for a halt when its block has lasted too long."""

    def __init__(self, halt: Halt, seconds: float, grace_seconds: float) -> None:
        self._halt = halt
        self._seconds = seconds
        self._grace_seconds = grace_seconds

    def __enter__(self) -> None:
        """Let time run from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            self._seconds, self._halt.ask, HaltReason.TIMEOUT, self._grace_seconds
        )

    def __exit__(self, *_: object) -> None:
        """Ask nobody any more."""
        self._timer.cancel()
