"""How fast a rebuild may go: so many events a second, or a share of the time."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Throttle:
    """What a rebuild must keep to; neither: as fast as it can."""

    events_per_second: float | None = None
    """All its programs together."""
    share: float | None = None
    """Of the time that each of its programs may work: above 0 and below 1."""

    @classmethod
    def of(cls, text: str) -> "Throttle":
        """Read `5000` (events a second) or `0.25` (a quarter of the time). Raises ValueError."""
        number = float(text)
        if not 0 < number < float("inf"):  # neither is nan
            raise ValueError(text)
        return cls(share=number) if number < 1 else cls(events_per_second=number)

    def shared_by(self, programs: int) -> "Throttle":
        """Return what each of so many programs must keep to."""
        if self.events_per_second is None:
            return self
        return Throttle(events_per_second=self.events_per_second / programs)


UNTHROTTLED = Throttle()


class Brake:
    """Rests as long as its throttle wants; to be asked after every few events."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._rested_until = time.monotonic()

    async def rest(self, events: int) -> None:
        """Rest after so many more events, when it was faster than it may be."""
        worked = time.monotonic() - self._rested_until
        seconds = 0.0
        if self._throttle.events_per_second is not None:
            seconds = events / self._throttle.events_per_second - worked
        elif self._throttle.share is not None:
            seconds = worked / self._throttle.share - worked
        if seconds > 0:
            await asyncio.sleep(seconds)
        self._rested_until = time.monotonic()
