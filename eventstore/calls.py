"""What may be handed to an appender, and how calls that are alike become one statement.

A call waits for its answer. Whose turn it is, and what an error means for the neighbours, is the
appender's.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import repeat
from typing import Final, Generic, Self, TypeAlias, TypeVar
from uuid import UUID

from reactorcide.eventstore.append_lane import AppendLane
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.inline_rows import GuardedRows, Rows, RowsToNew
from reactorcide.eventstore.record import (
    Append,
    AppendedToMany,
    AppendResult,
    AppendToMany,
    AppendToNew,
)

R = TypeVar("R")
S = TypeVar("S")

Unit: TypeAlias = tuple[Append, Change[S]]
RowsOf: TypeAlias = Callable[[Sequence[Change[S]]], Rows]

_NONE: Final[frozenset[UUID]] = frozenset()


class Call(Generic[R]):
    """One call that waits for its answer."""

    __slots__ = ("answer", "kind", "size", "stream_ids")

    def __init__(self, kind: Hashable, size: int, stream_ids: frozenset[UUID] = _NONE) -> None:
        self.kind = kind
        """Calls of one class for which this is equal may go in one statement."""
        self.size = size
        self.stream_ids = stream_ids
        """As far as another call could name one of them."""
        self.answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    async def write(self, lane: AppendLane, calls: Sequence[Self]) -> Iterable[R]:
        """Write calls that are alike, this one first; return their answers."""
        raise NotImplementedError


class UnitsCall(Call[list[AppendResult]], Generic[S]):
    """Appends of any kind, each to a stream of its own."""

    __slots__ = ("_rows", "units")

    def __init__(self, units: Sequence[Unit[S]], kind: Hashable, rows: RowsOf[S]) -> None:
        stream_ids = frozenset(append.stream_id for append, _ in units)
        if len(stream_ids) != len(units):
            msg = "a stream may occur only once in a call of append"
            raise ValueError(msg)
        super().__init__(kind, len(units), stream_ids)
        self.units = units
        self._rows = rows

    async def write(self, lane: AppendLane, calls: Sequence[Self]) -> Iterable[list[AppendResult]]:
        """Write all their units, sorted."""
        units = [unit for call in calls for unit in call.units]
        # In the order of the ids, as everybody does who locks the rows of several streams.
        order = sorted(range(len(units)), key=lambda nth: units[nth][0].stream_id.int)
        appends = [units[nth][0] for nth in order]
        rows = self._rows([units[nth][1] for nth in order])
        found = dict(zip(order, await lane.append(appends, rows), strict=True))
        results = iter([found[nth] for nth in range(len(units))])
        return [[next(results) for _ in range(call.size)] for call in calls]


class ToManyCall(Call[AppendedToMany]):
    """One event to each of many streams; it has a statement of its own."""

    __slots__ = ("_rows", "append")

    def __init__(self, append: AppendToMany, rows: GuardedRows) -> None:
        super().__init__(None, len(append.stream_ids))
        self.append = append
        self._rows = rows

    async def write(self, lane: AppendLane, calls: Sequence[Self]) -> Iterable[AppendedToMany]:
        """Write it."""
        del calls  # it is the only one
        return [await lane.append_to_many(self.append, self._rows)]


class ToNewCall(Call[datetime]):
    """The first events of many streams; those of one type go together, whoever caused them."""

    __slots__ = ("_doorbell", "_rows", "append")

    def __init__(self, append: AppendToNew, rows: RowsToNew, doorbell: Doorbell | None) -> None:
        what = append.type, append.schema_version, append.stream_type
        super().__init__((rows, what), len(append.stream_ids))
        self.append = append
        self._rows = rows
        self._doorbell = doorbell

    async def write(self, lane: AppendLane, calls: Sequence[Self]) -> Iterable[datetime]:
        """Write them as if they were one, and ring when that is done."""
        append = self.append
        if len(calls) == 1 == len(append.stream_ids):
            return (await lane.append_to_new_one(append, self._rows, self._doorbell),)
        if len(calls) > 1:
            append = append._replace(
                contexts=[one for call in calls for one in call.append.contexts],
                stream_ids=[one for call in calls for one in call.append.stream_ids],
                data=[one for call in calls for one in call.append.data],
                rows=[one for call in calls for one in call.append.rows],
            )
        rows = self._rows(append.rows)
        recorded_at = await lane.append_to_new(append, rows)
        if self._doorbell is not None and rows.announced is not None:
            for topic in rows.announced.topics:
                self._doorbell.ring(topic)
        return repeat(recorded_at, len(calls))
