"""Seals the log for tests that need sealed events, as its runner does; waits for the trail."""

from typing import Final

from reactorcide.eventstore.database import Connection
from reactorcide.projections import checkpoints
from reactorcide.projections.sealer import NAME, LogSealer
from reactorcide.projections.subscription import Pace
from reactorcide.tests.eventstore.waiting import until

KEY: Final = b"k" * 32
PATIENCE_SECONDS: Final = 60.0


def _unheard(_tree_size: int, _note: str) -> None:
    """Announce to nobody."""


async def seal_all(connection: Connection) -> None:
    """Seal the log up to now, where nobody else does."""
    assert await checkpoints.take(connection, NAME)
    sealer = LogSealer(KEY, _unheard, pace=Pace())
    while (await sealer.advance(connection)).is_behind:
        pass
    await checkpoints.give_back(connection, NAME)


async def until_followed(connection: Connection) -> None:
    """Wait until somebody who runs the audit trail has brought it up to now."""
    last = await connection.fetchval("SELECT max(position) FROM events")

    async def is_followed() -> bool:
        return bool(await checkpoints.position(connection, "audit_events") >= last)

    await until(is_followed, PATIENCE_SECONDS)
