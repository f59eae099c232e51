"""A tampered log, with what must be found.

A tampering changes a copy and says which positions the first wrong one is among, and what kinds
it may be told as. The tampering hand can write everywhere but has no key; what it can't reach is
a copy of the checkpoints, which `trust` carries where that is what gives it away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.tests.eventstore.proof.logs import TRUST, Log


@dataclass(frozen=True, slots=True)
class Tampered:
    """A log that somebody changed, and what a verifier must say of it."""

    log: Log
    first: int
    """The position that must be named; the lowest, where it can't be known exactly."""
    last: int
    """The same, or the highest that may be named."""
    kinds: frozenset[Wrong]
    trust: Trust = TRUST


Tampering: TypeAlias = Callable[[Log, Random], Tampered]


def sealed(log: Log) -> int:
    """Return how many events are sealed."""
    return sum(tile.width for tile in log.tiles)


def position_at(log: Log, index: int) -> int:
    """Return the position of an event."""
    return int(log.events[index].position)


def exactly(log: Log, position: int, *kinds: Wrong, trust: Trust = TRUST) -> Tampered:
    """Return a tampered log of which one position alone is right."""
    return Tampered(log, position, position, frozenset(kinds), trust)
