"""Where in the queue a worker looks for its next jobs. Pure; the log decides who gets what.

A busy worker goes on from where it last looked: what it has taken since, rows that are gone but
not yet vacuumed, is not walked over again and again. It begins anew when it comes to the end,
and often enough that what came in ahead of it is noticed soon.

Workers that meet (one wants what another has just taken) divide the queue by a hash of the ids,
each conflict more finely, and go back to looking at all of it when they no longer meet. The
hash changes with time, so that no job waits for a worker that is busy.
"""

import random
from typing import Final
from uuid import UUID

from reactorcide.projections.job_suggestions import Share

_ANEW_SECONDS: Final = 0.1
_ANEW_EFFORT: Final = 20.0
"""Looking from the top takes at most this part of the time: much, where many rows are dead."""
_ANEW_LATEST_SECONDS: Final = 5.0
"""But no job waits longer for such a look: it may have been slow for another reason, once."""
DEAR_SECONDS: Final = 0.02
"""Where looks from the top take so long they are to be made seldom, even at the end."""
_SALT_SECONDS: Final = 1.0
"""Whenever the hash changes, workers want what others are just claiming."""
_ALONE_SECONDS: Final = 2.0
_PARTS: Final = 64


class ClaimScan:
    """One worker's way through the queue. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self.after: tuple[int, UUID] | None = None
        """Priority and id of the job to go on from; None: from the top."""
        self._began_at = float("-inf")
        self._anew_seconds = _ANEW_SECONDS
        self.is_dear = False
        """The last two looks from the top took long: they walk over many rows that are gone."""
        self._was_slow = False
        self._parts = 1
        self._met_at = float("-inf")
        self._rank = random.randrange(_PARTS)  # noqa: S311  as long as nobody told
        self._alive = _PARTS

    def know(self, rank: int, alive: int) -> None:
        """Take note of how many workers there are, and which of them this one is."""
        self._rank, self._alive = rank, max(alive, 2)

    def is_due(self, now: float) -> bool:
        """Say whether it is time to begin from the top."""
        return now - self._began_at > self._anew_seconds

    def due_in(self, now: float) -> float:
        """Return after how many seconds it is time to begin from the top."""
        return max(self._began_at + self._anew_seconds - now, 0.0)

    def restart(self) -> None:
        """Look from the top next time."""
        self.after = None

    def share(self, now: float) -> Share:
        """Return which jobs to look at."""
        if self._parts > 1 and now - self._met_at > _ALONE_SECONDS:
            self._parts //= 2
            self._met_at = now
        if self._parts == 1:
            return Share()
        return Share(self._parts, self._rank % self._parts, int(now / _SALT_SECONDS))

    def own_share(self, now: float) -> Share:
        """Return a part that no other worker looks at just now, though it met nobody yet."""
        return Share(self._alive, self._rank % self._alive, int(now / _SALT_SECONDS))

    def found(self, last: tuple[int, UUID] | None, now: float, seconds: float) -> None:
        """Go on after `last`; None: that was the end. `seconds` is how long the look took."""
        if self.after is None:
            is_slow = seconds > DEAR_SECONDS
            self.is_dear, self._was_slow = is_slow and self._was_slow, is_slow
            self._began_at = now
            pause = min(seconds * _ANEW_EFFORT, _ANEW_LATEST_SECONDS)
            self._anew_seconds = max(pause, _ANEW_SECONDS)
        self.after = last

    def meet(self, now: float) -> None:
        """Learn that others took what this worker wanted."""
        self._met_at = now
        self._parts = min(self._parts * 2, self._alive, _PARTS)
