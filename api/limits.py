"""How often somebody may ask, and how often be wrong; counted in memory, by each process alone.

`Limiter` is GCRA, the generic cell rate algorithm (ITU-T I.371): a bucket that fills all the
time, fair to who asks steadily. `Window` counts and forgets: for what nobody does steadily in
good faith. Headers follow draft-ietf-httpapi-ratelimit-headers.
"""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_PRUNE_ABOVE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`quantity` requests in `window_seconds`, all of them at once if need be."""

    quantity: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and how much is left."""

    is_allowed: bool
    remaining: int
    reset_seconds: int
    """Until the bucket is full again."""
    retry_after_seconds: int
    """Until the next request may pass; 0 when it may now."""


@dataclass(slots=True)
class Limiter(Generic[K]):
    """Counts requests per key."""

    name: str
    rate: Rate
    clock: Callable[[], float] = time.monotonic
    _full_at: dict[K, float] = field(default_factory=dict)

    def take(self, key: K) -> Verdict:
        """Count one request of `key`, unless it is over the rate."""
        now = self.clock()
        interval = self.rate.window_seconds / self.rate.quantity
        full_at = max(self._full_at.get(key, now), now) + interval
        over = full_at - now - self.rate.window_seconds
        if over > 1e-9:  # noqa: PLR2004 - the rounding of sums of floats
            return self._verdict(full_at - interval - now, over)
        self._full_at[key] = full_at
        if len(self._full_at) > _PRUNE_ABOVE:
            self._prune(now)
        return self._verdict(full_at - now, 0)

    def headers(self, verdict: Verdict) -> dict[str, str]:
        """Return the rate limit headers of an answer."""
        return _headers(self.name, self.rate, verdict)

    def _verdict(self, until_full: float, over: float) -> Verdict:
        rate = self.rate
        left = int((rate.window_seconds - until_full) * rate.quantity / rate.window_seconds + 1e-6)
        wait = max(1, math.ceil(over)) if over > 1e-9 else 0  # noqa: PLR2004 - as above
        return Verdict(wait == 0, max(left, 0), math.ceil(until_full), wait)

    def _prune(self, now: float) -> None:
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}


@dataclass(slots=True)
class Window(Generic[K]):
    """Counts per key from the first on, until `window_seconds` have passed since."""

    name: str
    rate: Rate
    clock: Callable[[], float] = time.monotonic
    _counted: dict[K, tuple[float, int]] = field(default_factory=dict)

    def take(self, key: K) -> Verdict:
        """Count one more of `key`; the one after `quantity` is not allowed any more."""
        now = self.clock()
        ends_at, count = self._counted.get(key, (0.0, 0))
        if ends_at <= now:
            ends_at, count = now + self.rate.window_seconds, 0
        count += 1
        self._counted[key] = (ends_at, count)
        if len(self._counted) > _PRUNE_ABOVE:
            self._counted = {key: kept for key, kept in self._counted.items() if kept[0] > now}
        left = self.rate.quantity - count
        seconds = max(1, math.ceil(ends_at - now))
        return Verdict(left >= 0, max(left, 0), seconds, 0 if left >= 0 else seconds)

    def headers(self, verdict: Verdict) -> dict[str, str]:
        """Return the rate limit headers of an answer."""
        return _headers(self.name, self.rate, verdict)


def _headers(name: str, rate: Rate, verdict: Verdict) -> dict[str, str]:
    headers = {
        "RateLimit-Policy": f'"{name}";q={rate.quantity};w={rate.window_seconds}',
        "RateLimit": f'"{name}";r={verdict.remaining};t={verdict.reset_seconds}',
    }
    if not verdict.is_allowed:
        headers["Retry-After"] = str(verdict.retry_after_seconds)
    return headers
