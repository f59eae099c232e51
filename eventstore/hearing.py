"""A connection that says what it hears at once.

The driver tells a listener in the next turn of the event loop, and a job waits for that.
"""

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    _AnyConnection = asyncpg.Connection[asyncpg.Record]
else:
    _AnyConnection = asyncpg.Connection


class HearingConnection(_AnyConnection):
    """Calls its listeners in the turn in which their notification arrives; they must not raise."""

    __slots__ = ()

    # By another name in a driver to come, this would be left aside and cost that turn again.
    def _process_notification(self, pid: int, channel: str, payload: object) -> None:
        for listener in tuple(self._listeners.get(channel, ())):  # type: ignore[attr-defined]  # not in the stubs
            listener.cb(self, pid, channel, payload)
