"""Any course of appends, right, stale and too high, alone and in batches, against a model.

The model is a dictionary of lists. The machine must also catch a store with a planted bug: an
append without a look at the version before. Races are not the same twice, which Hypothesis
takes for a flaw of the test when something fails: bugs are planted where nobody races.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from reactorcide.eventstore import store
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Append, Appended, AppendResult, Conflict, RecordedEvent
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import an_append

T = TypeVar("T")

STREAMS: Final = 4

# (which stream, how far the expectation is off, how many events)
ONE = st.tuples(
    st.integers(0, STREAMS - 1),
    st.sampled_from([0, 0, 0, -1, 1, -2, 3]),
    st.integers(1, 3),
)
BATCH = st.lists(ONE, min_size=1, max_size=STREAMS, unique_by=lambda one: one[0])


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
        self, appends: list[Append], *, is_in_transaction: bool
    ) -> list[AppendResult]:
        """Append, in a transaction of its own or in one that was opened before."""
        connection = self.connections[0]
        if not is_in_transaction:
            return await store.append(connection, appends)
        async with connection.transaction():
            return await store.append(connection, appends)

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

    @rule(one_batch=BATCH, other_batch=BATCH)
    def append_at_once(
        self, one_batch: list[tuple[int, int, int]], other_batch: list[tuple[int, int, int]]
    ) -> None:
        """Append from two connections at the same time: at most one of them gets a stream."""
        batches = [[self.wish(*one) for one in batch] for batch in (one_batch, other_batch)]
        answers = self.do(self.raced(batches))
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

    async def raced(self, batches: list[list[Append]]) -> list[list[AppendResult]]:
        """Append over both connections at the same time."""
        return await asyncio.gather(
            *[
                store.append(connection, batch)
                for connection, batch in zip(self.connections, batches, strict=True)
            ]
        )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop that outlives one test case of the machine."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def connections(
    runner: asyncio.Runner, database_uri: str
) -> Iterator[tuple[Connection, Connection]]:
    """Two programs' connections."""
    database = Database(database_uri)
    one, other = runner.run(database.connect_writer()), runner.run(database.connect_writer())
    yield one, other
    runner.run(one.close())
    runner.run(other.close())


def check(
    machine: type[StoreMachine],
    runner: asyncio.Runner,
    connections: tuple[Connection, Connection],
    how: settings,
) -> None:
    """Run the machine on these connections."""
    placed = type(machine.__name__, (machine,), {"run": runner, "connections": connections})
    run_state_machine_as_test(placed, settings=how)


SETTINGS: Final = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_the_store_does_what_the_model_does(
    runner: asyncio.Runner, connections: tuple[Connection, Connection]
) -> None:
    """No course of appends tells the store and the model apart."""
    check(RacingMachine, runner, connections, SETTINGS)


PLANTED: Final = {
    "no look at the version before": (") IS NOT NULL)", ") IS NOT NULL OR true)"),
    "the rest goes in without the first": (
        "NOT is_first AND stream_id = ANY (ARRAY(SELECT stream_id FROM first))",
        "NOT is_first AND (SELECT count(*) FROM first) >= 0",
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(
    runner: asyncio.Runner,
    connections: tuple[Connection, Connection],
    monkeypatch: pytest.MonkeyPatch,
    bug: str,
) -> None:
    """The same machine fails when one condition of the append's statement is gone."""
    sound, unsound = PLANTED[bug]

    original = store.append_statement.__wrapped__

    def statement(inline_sql: str, *, is_one_each: bool, is_new: bool) -> str:
        text = original(inline_sql, is_one_each=is_one_each, is_new=is_new)
        return text.replace(sound, unsound)

    whole = statement("", is_one_each=False, is_new=False)
    assert sound not in whole
    assert unsound in whole
    monkeypatch.setattr(store, "append_statement", statement)
    with pytest.raises((AssertionError, asyncpg.UniqueViolationError)):
        check(
            StoreMachine,
            runner,
            connections,
            settings(SETTINGS, max_examples=50, phases=[Phase.generate]),
        )
