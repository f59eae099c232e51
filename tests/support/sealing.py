"""Seals the log for tests that need sealed events, as its runner does."""

from typing import Final

from reactorcide.eventstore.database import Connection
from reactorcide.projections import checkpoints
from reactorcide.projections.sealer import NAME, LogSealer
from reactorcide.projections.subscription import Pace

KEY: Final = b"k" * 32


def _unheard(_tree_size: int, _note: str) -> None:
    """Announce to nobody."""


async def seal_all(connection: Connection) -> None:
    """Seal the log up to now, where nobody else does."""
    assert await checkpoints.take(connection, NAME)
    sealer = LogSealer(KEY, _unheard, pace=Pace())
    while (await sealer.advance(connection)).is_behind:
        pass
    await checkpoints.give_back(connection, NAME)
