"""How far down the queue a worker looks, so that many workers do not all want the same job.

Pure but for the choice it makes at random; the log decides who gets what.
"""

import random
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_WIDEST: Final = 32


class ClaimWindow:
    """A worker alone takes the very first jobs; one that meets others looks further.

    Each conflict doubles how far, and a claim without one halves it again.
    """

    def __init__(self) -> None:
        self._width = 1

    def limit(self, slots: int) -> int:
        """Return how many jobs to look at in order to take `slots`."""
        return slots * self._width

    def choose(self, found: Sequence[T], slots: int) -> list[T]:
        """Pick up to `slots` of what was found, in its order."""
        if self._width == 1 or len(found) <= slots:
            return list(found[:slots])
        picked = random.sample(range(len(found)), slots)
        return [found[index] for index in sorted(picked)]

    def learn(self, *, met_others: bool) -> None:
        """Adapt to what the last claim met."""
        self._width = min(self._width * 2, _WIDEST) if met_others else max(self._width // 2, 1)
