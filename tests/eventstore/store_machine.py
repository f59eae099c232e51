"""Appends to a few streams, drawn by Hypothesis, beside a model of what must be there.

The model is a dictionary of lists. Some appends are guarded by rows of a small table, which may
lie: a row that is too low, or missing, or that says more than anybody expects changes no result,
since the log decides; or costs a conflict, where the rows' no is said to be final. What a guard is
trusted with is one thing alone: a row that says the very version that an append expects, while the
log is not there yet. Such a row cannot come about, as a guard's rows are written by the appends
themselves; no such row is drawn here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reactorcide.eventstore import store
from reactorcide.eventstore.guard_sql import Guard
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import GuardedRows, InlineRows
from reactorcide.eventstore.record import (
    Append,
    Appended,
    AppendResult,
    Conflict,
    RecordedEvent,
)
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import a_fact, an_append

T = TypeVar("T")

STREAMS: Final = 4

# (which stream, how far the expectation is off, how many events)
ONE = st.tuples(
    st.integers(0, STREAMS - 1),
    st.sampled_from([0, 0, 0, -1, 1, -2, 3]),
    st.integers(1, 3),
)
BATCH = st.lists(ONE, min_size=1, max_size=STREAMS, unique_by=lambda one: one[0])

# (which stream, how far the expectation is off, what its row says: this much more than the log;
# None: there is no row; "left": whatever the appends before have left there)
GUARDED = st.tuples(
    st.integers(0, STREAMS - 1),
    st.sampled_from([0, 0, 0, -1, 1, -2, 3]),
    st.sampled_from(["left", "left", 0, -1, -2, None, 9]),
)
GUARDED_BATCH = st.lists(GUARDED, min_size=1, max_size=STREAMS, unique_by=lambda one: one[0])

STANDINGS: Final = """
CREATE TABLE standings (stream_id uuid PRIMARY KEY, version int NOT NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON standings TO reactorcide_app"""
STATE: Final = """
INSERT INTO standings VALUES ($1, $2)
ON CONFLICT (stream_id) DO UPDATE SET version = excluded.version"""
GUARD: Final = Guard(
    """UPDATE standings AS s SET version = i.version FROM incoming AS i
    WHERE s.stream_id = {wanted} AND s.version = i.version - 1 RETURNING s.stream_id, i.*""",
    "",
)
TOLD: Final = """, told AS (
    INSERT INTO standings SELECT stream_id, version FROM first
    ON CONFLICT (stream_id) DO UPDATE SET version = excluded.version)"""


def guarded(appends: list[Append]) -> GuardedRows:
    """Return the rows of these appends, as a projection would."""
    assert all(len(append.events) == 1 for append in appends)
    return GuardedRows(GUARD, (), lambda: InlineRows(TOLD, ()))


class StoreMachine(RuleBasedStateMachine):
    """Appends to a few streams, beside a model of what must be there."""

    run: ClassVar[asyncio.Runner]
    connections: ClassVar[tuple[Connection, Connection]]

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[UUID, list[str]] = {new_id(): [] for _ in range(STREAMS)}
        self.streams = list(self.model)

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.run.run(coroutine)

    @rule(batch=BATCH, is_in_transaction=st.booleans())
    def append_alone(self, batch: list[tuple[int, int, int]], is_in_transaction: bool) -> None:  # noqa: FBT001  drawn
        """Append with nobody around: the model knows every result."""
        appends = [self.wish(*one) for one in batch]
        results = self.do(self.appended(appends, is_in_transaction=is_in_transaction))
        for one, result in zip(appends, results, strict=True):
            fits = one.expected_version == len(self.model[one.stream_id])
            assert isinstance(result, Appended if fits else Conflict)
            self.learn(one, result)

    @rule(
        batch=GUARDED_BATCH,
        is_same_data=st.booleans(),
        is_final=st.booleans(),
        is_in_transaction=st.booleans(),
    )
    def append_guarded(
        self,
        batch: list[tuple[int, int, int | str | None]],
        is_same_data: bool,  # noqa: FBT001  drawn
        is_final: bool,  # noqa: FBT001  as above
        is_in_transaction: bool,  # noqa: FBT001  as above
    ) -> None:
        """Append by rows that say what was drawn: the log decides, and the rows are right again.

        Where the rows' no is final, a row that lies may cost a conflict, and no more than that.
        """
        for stream, _, said in batch:
            if said != "left":
                self.do(self.stated(self.streams[stream], said))
        appends = [self.wish(stream, off, 1) for stream, off, _ in batch]
        if is_same_data:
            appends = [one._replace(events=(a_fact(),)) for one in appends]
        told = [self.do(self.standing(one.stream_id)) for one in appends]
        rows = replace(guarded(appends), is_final=is_final)
        results = self.do(self.appended(appends, rows, is_in_transaction=is_in_transaction))
        for one, said, result in zip(appends, told, results, strict=True):
            fits = one.expected_version == len(self.model[one.stream_id])
            may_lie = is_final and said != one.expected_version
            assert isinstance(result, Appended if fits else Conflict) or (fits and may_lie)
            self.learn(one, result)
            if isinstance(result, Appended):
                assert self.do(self.standing(one.stream_id)) == len(self.model[one.stream_id])

    @rule(batch=BATCH)
    def append_and_roll_back(self, batch: list[tuple[int, int, int]]) -> None:
        """What is rolled back leaves nothing but a gap in the positions."""
        self.do(self.rolled_back([self.wish(*one) for one in batch]))

    @invariant()
    def the_streams_are_the_models(self) -> None:
        """Versions without gaps, data in order, positions ascending, nothing else in the log."""
        streams = self.do(store.read_streams(self.connections[0], self.streams))
        for stream_id, data in self.model.items():
            events = streams.get(stream_id, [])
            assert [event.version for event in events] == list(range(1, len(data) + 1))
            assert [event.data for event in events] == data
            positions = [event.position for event in events]
            assert positions == sorted(positions)

    @invariant()
    def the_whole_log_holds_the_same(self) -> None:
        """Read in pages up to the horizon it is the same events, each once."""
        log = self.do(self.whole_log())
        positions = [event.position for event in log]
        assert positions == sorted(set(positions))
        mine = [event for event in log if event.stream_id in self.model]
        assert len(mine) == sum(map(len, self.model.values()))

    def wish(self, stream: int, off: int, count: int) -> Append:
        """Return an append whose expectation is off by so much (never below 0)."""
        stream_id = self.streams[stream]
        return an_append(stream_id, max(0, len(self.model[stream_id]) + off), count)

    def learn(self, one: Append, result: AppendResult) -> None:
        """Tell the model what was written."""
        if isinstance(result, Appended):
            self.model[one.stream_id] += [event.data for event in one.events]
            assert result.version == len(self.model[one.stream_id])

    async def appended(
        self,
        appends: list[Append],
        rows: GuardedRows | None = None,
        *,
        is_in_transaction: bool,
    ) -> list[AppendResult]:
        """Append, in a transaction of its own or in one that was opened before."""
        connection = self.connections[0]
        if not is_in_transaction:
            return await store.append(connection, appends, rows)
        async with connection.transaction():
            return await store.append(connection, appends, rows)

    async def stated(self, stream_id: UUID, said: int | str | None) -> None:
        """Let the guard's row say so much more than the log, or be gone."""
        if said is None:
            await self.connections[0].execute(
                "DELETE FROM standings WHERE stream_id = $1", stream_id
            )
        else:
            version = len(self.model[stream_id]) + int(said)
            await self.connections[0].execute(STATE, stream_id, version)

    async def standing(self, stream_id: UUID) -> int | None:
        """Return what the guard's row says."""
        version: int | None = await self.connections[0].fetchval(
            "SELECT version FROM standings WHERE stream_id = $1", stream_id
        )
        return version

    async def rolled_back(self, appends: list[Append]) -> None:
        """Append in a transaction that ends in a rollback."""
        transaction = self.connections[0].transaction()
        await transaction.start()
        try:
            await store.append(self.connections[0], appends)
        finally:
            await transaction.rollback()

    async def whole_log(self) -> list[RecordedEvent]:
        """Read all pages."""
        connection, last = self.connections[1], 0
        log: list[RecordedEvent] = []
        horizon = await safe_position(connection, 0)
        while page := await store.read_all(connection, last, horizon, 50):
            log += page
            last = page[-1].position
        return log


class RacingMachine(StoreMachine):
    """Appends over both connections at the same time as well."""

    @rule(one_batch=BATCH, other_batch=BATCH, is_guarded=st.booleans())
    def append_at_once(
        self,
        one_batch: list[tuple[int, int, int]],
        other_batch: list[tuple[int, int, int]],
        is_guarded: bool,  # noqa: FBT001  drawn
    ) -> None:
        """Append from two connections at the same time: at most one of them gets a stream.

        Guarded, by rows that say the truth, or both by the log alone.
        """
        batches = [[self.wish(*one) for one in batch] for batch in (one_batch, other_batch)]
        if is_guarded:
            batches = [
                sorted(
                    (one._replace(events=one.events[:1]) for one in batch),
                    key=lambda one: one.stream_id,
                )
                for batch in batches
            ]
            for stream_id in self.streams:
                self.do(self.stated(stream_id, 0))
        answers = self.do(self.raced(batches, guarded if is_guarded else None))
        for stream_id in self.streams:
            tries = [
                (one, result)
                for batch, results in zip(batches, answers, strict=True)
                for one, result in zip(batch, results, strict=True)
                if one.stream_id == stream_id
            ]
            self.settle(stream_id, tries)

    def settle(self, stream_id: UUID, tries: list[tuple[Append, AppendResult]]) -> None:
        """Find an order of what was tried at once that explains all results."""
        for ordered in (tries, tries[::-1]):
            version = len(self.model[stream_id])
            explained = True
            for one, result in ordered:
                fits = one.expected_version == version
                explained &= isinstance(result, Appended) == fits
                version += len(one.events) if fits else 0
            if explained:
                for one, result in ordered:
                    self.learn(one, result)
                return
        msg = f"no order of these explains their results: {tries}"
        raise AssertionError(msg)

    async def raced(
        self, batches: list[list[Append]], rows: Callable[[list[Append]], GuardedRows] | None
    ) -> list[list[AppendResult]]:
        """Append over both connections at the same time."""
        return await asyncio.gather(
            *[
                store.append(connection, batch, rows and rows(batch))
                for connection, batch in zip(self.connections, batches, strict=True)
            ]
        )
