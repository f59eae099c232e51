"""Verify and remake the table of a projection that follows the log: as of its checkpoint.

Its runner goes on meanwhile; only the swap makes it wait, for milliseconds.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reactorcide.eventstore.codec import Encoded, UnknownEvent
from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.projections import checkpoints, rebuilds
from reactorcide.projections.making import Compared, Filling
from reactorcide.projections.rebuilds import EVERYTHING, Slice
from reactorcide.projections.subscription import Subscription
from reactorcide.projections.throttle import Brake
from reactorcide.projections.verify import DIFFERENCES_NAMED, Verified

_POSITIONS_EACH: Final = 50_000
_FEW_POSITIONS: Final = 2000
_ROUNDS: Final = 10
_UNKNOWN: Final = """
SELECT position, type, schema_version FROM events
WHERE position > $1 AND position <= $2 AND type <> ALL ($3::text[]) ORDER BY position LIMIT 1"""


async def verify(database: Database, subscription: Subscription) -> Verified:
    """Compare a table with the log, in one snapshot. Raises CodecError and DatabaseError."""
    start = time.monotonic()
    with database_errors():
        connection = await database.connect(role=False, jit="off", timezone="UTC")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                at = await checkpoints.position(connection, subscription.name)
                await _check_known(connection, subscription, 0, at)
                found = await subscription.compare(connection, DIFFERENCES_NAMED)
        finally:
            await connection.close()
    return Verified(
        name=subscription.name,
        rows=found.made.rows,
        events=found.made.rows,
        position=found.position,
        digest=found.made.digest,
        differences=found.differences,
        seconds=time.monotonic() - start,
    )


@dataclass(frozen=True, slots=True)
class Following:
    """The making of the table of one that follows: one slice, in the order of positions."""

    tabled: Subscription

    async def cut(self, _connection: Connection, _events_each: int) -> Sequence[Slice]:
        """Return the one slice; its position says how far it is."""
        return [EVERYTHING]

    async def fill(self, connection: Connection, filling: Filling) -> None:
        """Write batch after batch, up to the checkpoint."""
        brake = Brake(filling.throttle)
        step = min(_POSITIONS_EACH, max(filling.events_each // 2, 1))
        reached = await rebuilds.reached(connection, self.tabled.name)
        end = await checkpoints.position(connection, self.tabled.name)
        while reached < end:
            until = min(reached + step, end)
            await self._write(connection, reached, until)
            filling.progress(until, end)
            await brake.rest(until - reached)
            reached = until

    async def catch_up(self, connection: Connection) -> None:
        """Write what the runner wrote since, until that is little."""
        for _ in range(_ROUNDS):
            if await self._follow(connection) <= _FEW_POSITIONS:
                return

    async def compare(self, _reader: Connection, writer: Connection) -> Compared:
        """Digest both up to the checkpoint: behind it neither table has rows that may change."""
        await self._follow(writer)
        position = await rebuilds.reached(writer, self.tabled.name)
        async with writer.transaction(isolation="repeatable_read", readonly=True):
            live, new = await self.tabled.digests_beside(writer, position)
        return Compared(position, new.rows, live, new)

    async def finish(self, connection: Connection) -> None:
        """Write the rest: who would move the checkpoint waits for the table."""
        await self._follow(connection)

    async def _follow(self, connection: Connection) -> int:
        """Write up to the checkpoint; return how many positions that were."""
        after = await rebuilds.reached(connection, self.tabled.name)
        until = await checkpoints.position(connection, self.tabled.name)
        if until > after:
            await self._write(connection, after, until)
        return until - after

    async def _write(self, connection: Connection, after: int, until: int) -> None:
        await _check_known(connection, self.tabled, after, until)
        async with connection.transaction():
            await self.tabled.write_beside(connection, after, until)
            await rebuilds.reach(connection, self.tabled.name, EVERYTHING, until)


async def _check_known(
    connection: Connection, subscription: Subscription, after: int, until: int
) -> None:
    """Raise UnknownEvent at the first that this version does not know."""
    known = sorted(subscription.known_types)
    found = await connection.fetchrow(_UNKNOWN, after, until, known)
    if found is not None:
        first = Encoded(found["position"], found["type"], found["schema_version"], "")
        raise UnknownEvent(first, "unknown type; was it written by a newer version?")
