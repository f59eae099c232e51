"""What can be wrong with a log, and how it is told. It finds nothing by itself."""

from dataclasses import dataclass
from enum import StrEnum


class Wrong(StrEnum):
    """The kinds of what is wrong."""

    EDITED = "edited"
    """The event is not what was sealed at its position."""
    DELETED = "deleted"
    INSERTED = "inserted"
    """An event stands among sealed ones, and was not sealed with them."""
    SWAPPED = "swapped"
    """The event at this position is the one that was sealed at another."""
    TAIL_CUT = "tail cut"
    """From here on everything that was sealed is gone."""
    REHASHED = "history rehashed"
    """Events and hashes fit each other, but not what was signed."""
    BAD_SIGNATURE = "signature bad"
    BAD_TILE = "tile wrong"
    """A stored hash is not the one that the events make."""
    FORGED_REDACTION = "redaction forged"
    VERSION_GAP = "version gap"
    """The versions of a stream do not go 1, 2, 3 …"""
    UNLAWFUL = "unlawful"
    """The rules allow no such event at this point of its stream."""
    UNKNOWN = "unknown type"
    """This version knows no such event: nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong."""

    kind: Wrong
    position: int
    detail: str
    stream_type: str | None = None
    stream_id: str | None = None
    """None where it can't be known: the event is gone, or it is about more than one."""
    until: int | None = None
    """Where the wrong position can only be narrowed down: the last that it may be."""

    @property
    def text(self) -> str:
        """One line about it."""
        place = f"position {self.position}"
        if self.until is not None and self.until > self.position:
            place = f"positions {self.position} to {self.until}"
        if self.stream_id is not None:
            place += f", {self.stream_type or 'stream'} {self.stream_id}"
        return f"{place}: {self.kind}: {self.detail}"


def first(*findings: Finding | None) -> Finding | None:
    """Return the one with the lowest position; of several there, the one named first."""
    found = [one for one in findings if one is not None]
    return min(found, key=lambda one: one.position) if found else None
