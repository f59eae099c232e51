"""Commands that arrive together are written together.

A batch is whatever has queued while the last one was in flight: no timer, so that a lone
command goes at once. Calls stay whole (one call, one statement) and a stream occurs once in a
statement. It decides nothing and reads nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar
from uuid import UUID

from reactorcide.eventstore.append_lane import AppendLane
from reactorcide.eventstore.calls import (
    Call,
    RowsOf,
    ToManyCall,
    ToNewCall,
    Unit,
    UnitsCall,
)
from reactorcide.eventstore.database import (
    Database,
    DatabaseError,
    DatabaseUnavailable,
    StatementRefused,
)
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.inline_rows import GuardedRows, RowsToNew
from reactorcide.eventstore.record import AppendedToMany, AppendResult, AppendToMany, AppendToNew
from reactorcide.eventstore.settling import settle

__all__ = ["Appender", "Unit"]

R = TypeVar("R")
S = TypeVar("S")

_BATCH_UNITS: Final = 1000
_SHARED_UNITS: Final = 200
"""A statement of so many gains nothing by more, while another connection has nothing to do."""


class Idle(NamedTuple):
    """A lane that has nothing to do, and what its task waits for."""

    lane: AppendLane
    wait: asyncio.Future[None]


def _no_kind(_change: object) -> None:
    """Make no difference between appends."""


class Appender(Generic[S]):
    """The door of one process to the streams of one kind; see AppendDoor.

    Use it as an async context manager. It opens `connections` connections of its own, and
    opens them again after they broke. Leaving it writes what was already handed in.

    Calls of different `kind` are not written together: what a statement does for many appends
    of one kind is less than what it does for any.
    """

    def __init__(
        self,
        database: Database,
        rows: RowsOf[S],
        connections: int = 2,
        kind: Callable[[Change[S]], Hashable] = _no_kind,
    ) -> None:
        self._kind = kind
        self._database = database
        self._rows = rows
        self._lanes = [AppendLane(database) for _ in range(connections)]
        self._calls: deque[Call[Any]] = deque()
        self._to_many: deque[Call[Any]] = deque()
        self._idle: deque[Idle] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_alone = False
        """Whether the last statement was one call's: the next one comes alone as well."""
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Connect. Raises DatabaseUnavailable."""
        try:
            for lane in self._lanes:
                await lane.connect()
        except BaseException:
            await self._disconnect()
            raise
        self._is_open = True
        self._tasks = [
            asyncio.create_task(self._serve(lane), name=f"appender-{nth}")
            for nth, lane in enumerate(self._lanes)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is queued, then disconnect."""
        self._is_open = False
        while self._idle:
            settle(self._idle.popleft().wait)
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            for calls in (self._calls, self._to_many):
                _fail(calls, DatabaseUnavailable("the appender is closed"))
            await self._disconnect()

    async def append(self, units: Sequence[Unit[S]]) -> list[AppendResult]:
        """Append in one statement, shared with others; the results are in the order of `units`.

        A conflict or a refusal touches no other call. Raises ValueError when a stream occurs
        twice, StatementRefused (nothing of this call was written) and DatabaseUnavailable (it
        may have been).
        """
        kinds = {self._kind(change) for _, change in units}
        kind = kinds.pop() if len(kinds) == 1 else None
        call = UnitsCall(units, kind, self._rows)
        return await self._answer(self._calls, call) if units else []

    async def append_to_many(self, append: AppendToMany, rows: GuardedRows) -> AppendedToMany:
        """Append one event to each of many streams, in a statement of its own.

        See `store.append_to_many`. Raises StatementRefused and DatabaseUnavailable as `append`.
        """
        return await self._answer(self._to_many, ToManyCall(append, rows))

    async def append_to_new(
        self, append: AppendToNew, rows: RowsToNew, doorbell: Doorbell | None = None
    ) -> datetime:
        """Begin new streams, all or none, in a statement shared with others; return when.

        `rows` are given those of all, and name the topics that `doorbell` rings then. Raises
        StatementRefused and DatabaseUnavailable as `append`; a stream that is there already is
        refused.
        """
        return await self._answer(self._calls, ToNewCall(append, rows, doorbell))

    async def _answer(self, queue: deque[Call[Any]], call: Call[R]) -> R:
        """Hand in a call and wait for its answer."""
        if not self._is_open:
            detail = "the appender is closed"
            raise DatabaseUnavailable(detail)
        if self._is_alone and len(self._idle) == len(self._lanes) and self._idle[-1].lane.is_up:
            # Where others come as well they come in this turn, and are to be written together.
            return await self._write_at_once(self._idle.pop(), call)
        queue.append(call)
        self._wake_one()
        return await call.answer

    def _wake_one(self) -> None:
        """Wake the lane that was busy last: its statements are prepared, its caches warm."""
        if (self._calls or self._to_many) and self._idle:
            settle(self._idle.pop().wait)

    async def _write_at_once(self, idle: Idle, call: Call[R]) -> R:
        """Write a call by a lane that has nothing to do. In the turn of its caller."""
        try:
            (answer,) = await call.write(idle.lane, (call,))
            return answer
        finally:
            if self._is_open:
                self._idle.append(idle)
                self._wake_one()
            else:
                settle(idle.wait)

    async def _serve(self, lane: AppendLane) -> None:
        """Write batch after batch, until the appender is left and the queue is empty."""
        while True:
            if self._to_many:
                call = self._to_many.popleft()
                self._wake_one()
                if not call.answer.done():  # its caller was not cancelled
                    await self._write(lane, [call])
            elif batch := self._take():
                self._wake_one()
                await self._write(lane, batch)
            elif self._is_open:
                idle = Idle(lane, asyncio.get_running_loop().create_future())
                self._idle.append(idle)
                await idle.wait
            else:
                return

    def _take(self) -> list[Call[Any]]:
        """Take the calls of the next statement: the oldest, and those after it of its kind.

        What must wait stays in order.
        """
        taken: list[Call[Any]] = []
        left: list[Call[Any]] = []
        streams: set[UUID] = set()
        size = 0
        while self._calls:
            call = self._calls.popleft()
            if call.answer.done():
                continue  # its caller was cancelled
            if taken and size + call.size > self._most_units():
                left.append(call)
                break
            if taken and not (
                type(call) is type(taken[0])
                and call.kind == taken[0].kind
                and streams.isdisjoint(call.stream_ids)
            ):
                left.append(call)
            else:
                taken.append(call)
            streams |= call.stream_ids
            size += call.size
        self._calls.extendleft(reversed(left))
        return taken

    def _most_units(self) -> int:
        """Return how many units to write together: what is much already leaves room for others."""
        return _SHARED_UNITS if self._idle else _BATCH_UNITS

    async def _write(self, lane: AppendLane, batch: Sequence[Call[Any]]) -> None:
        """Write a batch and answer its calls; one that PostgreSQL refuses is taken apart."""
        self._is_alone = len(batch) == 1
        try:
            answers = await batch[0].write(lane, batch)
        except StatementRefused as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for call in batch:
                await self._write(lane, [call])
        except DatabaseError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, DatabaseUnavailable("the appender was stopped"))
            raise
        except Exception as error:  # noqa: BLE001  a defect in `rows` belongs to its callers
            _fail(batch, error)
        else:
            for call, answer in zip(batch, answers, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)

    async def _disconnect(self) -> None:
        for lane in self._lanes:
            await lane.disconnect()


def _fail(calls: Iterable[Call[Any]], error: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
