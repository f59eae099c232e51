"""When a worker takes what has waited long instead of what comes first: so nothing starves.

Of ten looks that found something one goes by age. Pure; whether anything has waited so long is
asked of the read table, and no more often than that costs little.
"""

from typing import Final
from uuid import UUID

_ONE_IN: Final = 10
_PAUSE_SECONDS: Final = 1.0
_EFFORT: Final = 20.0
"""To ask takes at most this part of the time where nothing has waited long."""


class Ageing:
    """One worker's turns. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._turns = 0
        self._not_before = float("-inf")
        self.priority: int | None = None
        """The lowest that was served last: what waits behind it is below."""

    def served(self, priority: int) -> None:
        """Learn that a look by priority came down to this one."""
        self.priority = priority
        self._turns += 1

    def emptied(self) -> None:
        """Learn that a look by priority took all there was: nothing waits behind it."""
        self._turns = 0

    def is_due(self, now: float) -> bool:
        """Say whether the next look goes by age."""
        return self.priority is not None and self._turns >= _ONE_IN - 1 and now >= self._not_before

    def looked(self, now: float, seconds: float, *, has_found: bool) -> None:
        """Learn what came of a look by age, and how long it took."""
        if has_found:
            self._turns = 0
        else:
            self._not_before = now + max(_PAUSE_SECONDS, seconds * _EFFORT)


def oldest_id_since(seconds: float) -> UUID:
    """Return what the ids of all jobs made before that time (Unix) are less than: RFC 9562."""
    return UUID(int=int(max(seconds, 0) * 1000) << 80)
