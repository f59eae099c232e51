"""One connection that appends, opened again when it broke.

It runs the statements of `store`, one at a time, and raises our errors; which go together is said
by whoever hands them in.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from reactorcide.eventstore import lone, store
from reactorcide.eventstore.database import Connection, Database, StatementRefused
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.inline_rows import FreshRows, GuardedRows, Rows, RowsToNew
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import (
    Append,
    AppendedToMany,
    AppendResult,
    AppendToMany,
    AppendToNew,
)

T = TypeVar("T")

_REPETITIONS: Final = 5


class AppendLane:
    """A connection of a writer's own. What it is given is written at once, or fails.

    All that append raise StatementRefused (nothing was written) and DatabaseUnavailable (it may
    have been). One that PostgreSQL refused to break a deadlock is written again.
    """

    def __init__(self, database: Database) -> None:
        self._lane = Lane(database)

    @property
    def is_up(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._lane.is_up

    async def connect(self) -> None:
        """Connect unless connected. Raises DatabaseUnavailable."""
        await self._lane.connect()

    async def append(self, appends: Sequence[Append], rows: Rows) -> list[AppendResult]:
        """Append to many streams, each by itself; see `store.append`."""
        return await self._write(lambda to: store.append(to, appends, rows))

    async def append_to_many(self, append: AppendToMany, rows: GuardedRows) -> AppendedToMany:
        """Append one event to each of many streams; see `store.append_to_many`."""
        return await self._write(lambda to: store.append_to_many(to, append, rows))

    async def append_to_new(self, append: AppendToNew, rows: FreshRows) -> datetime:
        """Begin many streams, all or none; see `store.append_to_new`."""
        return await self._write(lambda to: store.append_to_new(to, append, rows))

    async def append_to_new_one(
        self, append: AppendToNew, rows: RowsToNew, doorbell: Doorbell | None
    ) -> datetime:
        """Begin one stream and ring; see `lone.append_to_new_one`."""
        fetch = self._lane.fetch_kept
        return await _repeated(lambda: lone.append_to_new_one(fetch, append, rows, doorbell))

    async def _write(self, write: Callable[[Connection], Awaitable[T]]) -> T:
        return await _repeated(lambda: self._lane.run(write))

    async def disconnect(self) -> None:
        """Close the connection."""
        await self._lane.close()


async def _repeated(write: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_REPETITIONS - 1):
        try:
            return await write()
        except StatementRefused as error:
            if not error.is_transient:
                raise
    return await write()
