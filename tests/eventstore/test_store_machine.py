"""Any course of appends, right, stale and too high, alone and in batches, against a model.

The machine must also catch a store with a planted bug: one condition of a statement is gone. Races
are not the same twice, which Hypothesis takes for a flaw of the test when something fails: bugs
are planted where nobody races.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from reactorcide.eventstore import append_sql, guard_sql
from reactorcide.eventstore.database import Database
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.store_machine import STANDINGS, RacingMachine, StoreMachine


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop that outlives one test case of the machine."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def connections(
    runner: asyncio.Runner, database_uri: str
) -> Iterator[tuple[Connection, Connection]]:
    """Two programs' connections, and the guard's table."""
    runner.run(_create_standings(database_uri))
    database = Database(database_uri)
    one, other = runner.run(database.connect_writer()), runner.run(database.connect_writer())
    yield one, other
    runner.run(one.close())
    runner.run(other.close())


async def _create_standings(database_uri: str) -> None:
    owner = await asyncpg.connect(database_uri)
    try:
        await owner.execute(STANDINGS)
    finally:
        await owner.close()


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


# The statement, what is taken out of it, and what stands there instead.
PLANTED: Final = {
    "plain: no look at the version before": ("plain", ") IS NOT NULL)", ") IS NOT NULL OR true)"),
    "careful: no look at the version before": (
        "careful",
        ") IS NOT NULL)",
        ") IS NOT NULL OR true)",
    ),
    "careful: the rest goes in without the first": (
        "careful",
        "(stream_id IN (SELECT stream_id FROM first)) IS TRUE",
        "(SELECT count(*) FROM first) >= 0",
    ),
    "careful: a version that is taken refuses the neighbours": (
        "careful",
        "\nON CONFLICT (stream_id, version) DO NOTHING",
        "",
    ),
    "guarded: the version of the row is not compared": (
        "guarded",
        " AND s.version = i.version - 1",
        "",
    ),
    "guarded: what the row refuses goes in all the same": (
        "guarded",
        "FROM standing\n",
        "FROM (SELECT wanted_id AS stream_id, * FROM incoming) AS standing\n",
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(
    runner: asyncio.Runner,
    connections: tuple[Connection, Connection],
    monkeypatch: pytest.MonkeyPatch,
    bug: str,
) -> None:
    """The same machine fails when one condition of an append's statement is gone."""
    name, sound, unsound = PLANTED[bug]
    applied = 0

    def statement(*arguments: Any, original: Callable[..., str], **named: Any) -> str:
        nonlocal applied
        text = original(*arguments, **named)
        applied += sound in text
        return text.replace(sound, unsound)

    module = guard_sql if name == "guarded" else append_sql
    original = getattr(module, name).__wrapped__
    monkeypatch.setattr(module, name, partial(statement, original=original))
    with pytest.raises((AssertionError, asyncpg.UniqueViolationError)):
        check(
            StoreMachine,
            runner,
            connections,
            settings(SETTINGS, max_examples=50, phases=[Phase.generate]),
        )
    assert applied
