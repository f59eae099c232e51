"""What a rebuild needs to know of the kind of projection whose table it makes. Does nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reactorcide.eventstore.database import Connection, Database
from reactorcide.projections.rebuilds import Slice
from reactorcide.projections.replay import Progress
from reactorcide.projections.table import Digest, Tabled
from reactorcide.projections.throttle import Throttle


class Compared(NamedTuple):
    """The live table and the new one at one position."""

    position: int
    events: int
    """That made the new one."""
    live: Digest
    new: Digest


@dataclass(frozen=True, slots=True)
class Filling:
    """How the table beside is to be filled."""

    database: Database
    progress: Progress
    throttle: Throttle
    events_each: int
    """From twice so many events on, several programs fold."""


class Making(Protocol):
    """Makes the table of one projection anew, beside the live one.

    What it writes there it notes in the same transaction (see `rebuilds`).
    """

    @property
    def tabled(self) -> Tabled:
        """Whose table it is."""

    async def cut(self, connection: Connection, events_each: int) -> Sequence[Slice]:
        """Return what is to be folded one after the other, all of it; see `Filling`."""

    async def fill(self, connection: Connection, filling: Filling) -> None:
        """Fold every slice that is not folded yet."""

    async def catch_up(self, connection: Connection) -> None:
        """Write what was appended since, until that is little."""

    async def compare(self, reader: Connection, writer: Connection) -> Compared:
        """Bring the new table to what `reader` sees in one snapshot; digest both."""

    async def finish(self, connection: Connection) -> None:
        """Write all the rest, in the transaction that keeps everybody out of the live table."""
