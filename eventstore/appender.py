"""Commands that arrive together are written together.

A batch is whatever has queued while the last one was in flight: no timer, so that a lone
command goes at once. Calls stay whole (one call, one statement) and a stream occurs once in a
statement. It decides nothing and reads nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Generic, NamedTuple, Self, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from reactorcide.eventstore import store
from reactorcide.eventstore.database import (
    Database,
    DatabaseError,
    DatabaseUnavailable,
    StatementRefused,
    database_errors,
)
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.record import Append, AppendedToMany, AppendResult, AppendToMany
from reactorcide.eventstore.store import GuardedRows, Rows

S = TypeVar("S")
T = TypeVar("T")

Unit: TypeAlias = tuple[Append, Change[S]]

_BATCH_UNITS: Final = 1000
_SHARED_UNITS: Final = 200
"""A statement of so many gains nothing by more, while another connection has nothing to do."""
_REPETITIONS: Final = 5
_CLOSE_SECONDS: Final = 5.0
# The driver asks the server once about each of these: 20 ms that the first command would wait.
_TYPES: Final = "SELECT $1::uuid[], $2::jsonb[], $3::timestamptz[], $4::inet, $5::text[], $6::int[]"


def _no_kind(_change: object) -> None:
    """Make no difference between appends."""


class _Call(NamedTuple, Generic[S]):
    """One call of append that waits for its answer."""

    units: Sequence[Unit[S]]
    stream_ids: frozenset[UUID]
    kind: object
    answer: asyncio.Future[list[AppendResult]]


class _CallToMany(NamedTuple):
    """One call of append_to_many that waits for its answer; it has a statement of its own."""

    append: AppendToMany
    rows: GuardedRows
    answer: asyncio.Future[AppendedToMany]


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
        rows: Callable[[Sequence[Change[S]]], Rows],
        connections: int = 2,
        kind: Callable[[Change[S]], object] = _no_kind,
    ) -> None:
        self._kind = kind
        self._database = database
        self._rows = rows
        self._lanes = [_Lane(database) for _ in range(connections)]
        self._calls: deque[_Call[S]] = deque()
        self._to_many: deque[_CallToMany] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
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
            _settle(self._idle.popleft())
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            for calls in (self._calls, self._to_many):
                self._fail(calls, DatabaseUnavailable("the appender is closed"))
            await self._disconnect()

    async def append(self, units: Sequence[Unit[S]]) -> list[AppendResult]:
        """Append in one statement, shared with others; the results are in the order of `units`.

        A conflict or a refusal touches no other call. Raises ValueError when a stream occurs
        twice, StatementRefused (nothing of this call was written) and DatabaseUnavailable (it
        may have been).
        """
        if not self._is_open:
            detail = "the appender is closed"
            raise DatabaseUnavailable(detail)
        if not units:
            return []
        stream_ids = frozenset(append.stream_id for append, _ in units)
        if len(stream_ids) != len(units):
            msg = "a stream may occur only once in a call of append"
            raise ValueError(msg)
        kinds = {self._kind(change) for _, change in units}
        kind = kinds.pop() if len(kinds) == 1 else None
        answer: asyncio.Future[list[AppendResult]] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(units, stream_ids, kind, answer))
        self._wake_one()
        return await answer

    async def append_to_many(self, append: AppendToMany, rows: GuardedRows) -> AppendedToMany:
        """Append one event to each of many streams, in a statement of its own.

        See `store.append_to_many`. Raises StatementRefused and DatabaseUnavailable as `append`.
        """
        if not self._is_open:
            detail = "the appender is closed"
            raise DatabaseUnavailable(detail)
        answer: asyncio.Future[AppendedToMany] = asyncio.get_running_loop().create_future()
        self._to_many.append(_CallToMany(append, rows, answer))
        self._wake_one()
        return await answer

    def _wake_one(self) -> None:
        """Wake the lane that was busy last: its statements are prepared, its caches warm."""
        if (self._calls or self._to_many) and self._idle:
            _settle(self._idle.pop())

    async def _serve(self, lane: "_Lane") -> None:
        """Write batch after batch, until the appender is left and the queue is empty."""
        while True:
            if self._to_many:
                call = self._to_many.popleft()
                self._wake_one()
                await self._write_to_many(lane, call)
            elif batch := self._take():
                self._wake_one()
                await self._write(lane, batch)
            elif self._is_open:
                idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle
            else:
                return

    def _take(self) -> list[_Call[S]]:
        """Take the calls of the next statement: the oldest, and those after it of its kind.

        What must wait stays in order.
        """
        taken: list[_Call[S]] = []
        left: list[_Call[S]] = []
        streams: set[UUID] = set()
        while self._calls:
            call = self._calls.popleft()
            if call.answer.done():
                continue  # its caller was cancelled
            if taken and len(streams) + len(call.stream_ids) > self._most_units():
                left.append(call)
                break
            is_alike = not taken or call.kind == taken[0].kind
            if is_alike and streams.isdisjoint(call.stream_ids):
                taken.append(call)
            else:
                left.append(call)
            streams |= call.stream_ids
        self._calls.extendleft(reversed(left))
        return taken

    def _most_units(self) -> int:
        """Return how many units to write together: what is much already leaves room for others."""
        return _SHARED_UNITS if self._idle else _BATCH_UNITS

    async def _write(self, lane: "_Lane", batch: Sequence[_Call[S]]) -> None:
        """Write a batch and answer its calls; one that PostgreSQL refuses is taken apart."""
        try:
            results = await self._append(lane, [unit for call in batch for unit in call.units])
        except StatementRefused as error:
            if len(batch) == 1:
                self._fail(batch, error)
                return
            for call in batch:
                await self._write(lane, [call])
        except DatabaseError as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            self._fail(batch, DatabaseUnavailable("the appender was stopped"))
            raise
        except Exception as error:  # noqa: BLE001  a defect in `rows` belongs to its callers
            self._fail(batch, error)
        else:
            start = 0
            for call in batch:
                end = start + len(call.units)
                if not call.answer.done():
                    call.answer.set_result(results[start:end])
                start = end

    async def _write_to_many(self, lane: "_Lane", call: _CallToMany) -> None:
        """Write and answer a call to many."""
        if call.answer.done():
            return  # its caller was cancelled
        try:
            result = await _repeated(lambda: lane.append_to_many(call.append, call.rows))
        except asyncio.CancelledError:
            self._fail([call], DatabaseUnavailable("the appender was stopped"))
            raise
        except Exception as error:  # noqa: BLE001  a defect in `rows` belongs to its caller
            self._fail([call], error)
        else:
            if not call.answer.done():
                call.answer.set_result(result)

    async def _append(self, lane: "_Lane", units: Sequence[Unit[S]]) -> list[AppendResult]:
        """Append them; the results are in their order."""
        # In the order of the ids, as everybody does who locks the rows of several streams.
        order = sorted(range(len(units)), key=lambda nth: units[nth][0].stream_id.int)
        appends = [units[nth][0] for nth in order]
        rows = self._rows([units[nth][1] for nth in order])
        results = await _repeated(lambda: lane.append(appends, rows))
        found = dict(zip(order, results, strict=True))
        return [found[nth] for nth in range(len(units))]

    @staticmethod
    def _fail(calls: Iterable[_Call[S] | _CallToMany], error: Exception) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(error)

    async def _disconnect(self) -> None:
        for lane in self._lanes:
            await lane.disconnect()


class _Lane:
    """One connection of an appender, opened again when it broke."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            connection = await self._database.connect_writer()
            try:
                with database_errors():
                    await connection.prepare(_TYPES)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def append(self, appends: Sequence[Append], rows: Rows) -> list[AppendResult]:
        connection = await self.connect()
        try:
            with database_errors():
                return await store.append(connection, appends, rows)
        except DatabaseUnavailable:  # perhaps nothing comes back on it any more
            connection.terminate()
            raise

    async def append_to_many(self, append: AppendToMany, rows: GuardedRows) -> AppendedToMany:
        connection = await self.connect()
        try:
            with database_errors():
                return await store.append_to_many(connection, append, rows)
        except DatabaseUnavailable:  # as above
            connection.terminate()
            raise

    async def disconnect(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
        self._connection = None


async def _repeated(write: Callable[[], Awaitable[T]]) -> T:
    """Write, again when PostgreSQL took the other's side in a deadlock."""
    for _ in range(_REPETITIONS - 1):
        try:
            return await write()
        except StatementRefused as error:
            if not error.is_transient:
                raise
    return await write()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
