"""The clock that leases are kept by: it goes on while the machine is suspended."""

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Return the seconds since some fixed moment, the same for all processes of this machine."""
    return time.clock_gettime(_CLOCK)


def margin_of(lease_seconds: float) -> float:
    """Return how long before the end of its lease an attempt is killed."""
    return min(2.0, lease_seconds / 6)
