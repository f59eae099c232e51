"""Makes the table of an inline projection anew: folds streams, slice by slice of their ids.

A slice is folded in a snapshot of its own; what is appended to its streams after `settled`,
which is taken before, is folded again when the table catches up.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.horizon import safe_position
from reactorcide.projections import rebuilds, slices, table
from reactorcide.projections.making import Compared, Filling
from reactorcide.projections.projection import Projection
from reactorcide.projections.rebuilds import Slice
from reactorcide.projections.replay import Tally, count, replay_some
from reactorcide.projections.throttle import Brake

_PROGRAMS: Final = 4
_PATIENCE_SECONDS: Final = 30.0
_ROUNDS: Final = 10
_FEW_STREAMS: Final = 200
_STREAMS_AT_ONCE: Final = 5000
_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Inline:
    """The making of one inline projection's table."""

    tabled: Projection

    async def cut(self, connection: Connection, events_each: int) -> Sequence[Slice]:
        """Return slices of the streams, each of some seconds' work."""
        return await slices.cut(connection, self.tabled, events_each)

    async def fill(self, connection: Connection, filling: Filling) -> None:
        """Fold what is not folded, in several programs when that is much."""
        name = self.tabled.name
        settled = await safe_position(connection, 0, _PATIENCE_SECONDS)
        every, left = await rebuilds.left(connection, name)
        events, _ = await count(connection, self.tabled)
        todo = events * left // max(every, 1)
        programs = min(os.cpu_count() or 1, _PROGRAMS, todo // max(filling.events_each, 1), left)
        programs = max(programs, 1)
        throttle = filling.throttle.shared_by(programs)
        tally = Tally(events, filling.progress, Brake(throttle))
        tally.note(events - todo)
        order = {"projection": name, "settled": settled, "throttle": throttle}
        async with slices.folded_apart(filling.database, order, programs - 1, tally) as apart:
            await self._fold(filling.database, settled, tally, waits=False)
            await apart
        # What failed there fails here too, and says what is the matter.
        await self._fold(filling.database, settled, tally, waits=True)

    async def _fold(self, database: Database, settled: int, tally: Tally, *, waits: bool) -> None:
        await slices.fold(database, self.tabled, settled, tally.folded, waits=waits)

    async def catch_up(self, connection: Connection) -> None:
        """Fold again the streams that went on since, until few do."""
        for _ in range(_ROUNDS):
            reached = await rebuilds.reached(connection, self.tabled.name)
            until = await safe_position(connection, reached, _PATIENCE_SECONDS)
            if await self._refold(connection, connection, until, until) <= _FEW_STREAMS:
                return

    async def compare(self, reader: Connection, writer: Connection) -> Compared:
        """Fold what the snapshot shows and the table has not; digest both."""
        settled = await safe_position(
            writer, await rebuilds.reached(writer, self.tabled.name), _PATIENCE_SECONDS
        )
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            events, position = await count(reader, self.tabled)
            await self._refold(reader, writer, _LAST, settled)
            live, new = await asyncio.gather(  # two sessions, two cores
                table.digest(reader, self.tabled, self.tabled.name),
                table.digest(writer, self.tabled, table.beside(self.tabled)),
            )
        return Compared(position, events, live, new)

    async def finish(self, connection: Connection) -> None:
        """Fold again the last streams: nobody adds to any, since that writes its row."""
        await self._refold(connection, connection, _LAST, _LAST)

    async def _refold(
        self, reader: Connection, writer: Connection, until: int, settled: int
    ) -> int:
        """Fold again what has events up to `until`, as `reader` sees them; return how many streams.

        `settled` is then the position below which the table has all.
        """
        stream_type, name, beside = (
            self.tabled.stream_type,
            self.tabled.name,
            table.beside(self.tabled),
        )
        stream_ids = await rebuilds.touched(reader, name, stream_type, until)
        for start in range(0, len(stream_ids), _STREAMS_AT_ONCE):
            some = stream_ids[start : start + _STREAMS_AT_ONCE]
            rows = await replay_some(reader, self.tabled, some)
            async with writer.transaction():
                await table.forget(writer, self.tabled, beside, some)
                await table.copy(writer, self.tabled, beside, rows)
        await rebuilds.reach_all(writer, name, settled)
        return len(stream_ids)
