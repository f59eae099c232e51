"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.tests.worker.handler_bench import Bench, bench_of
from reactorcide.tests.worker.jobs_at_work import Desk, desk_of
from reactorcide.worker.process_runner import ProcessRunner


@pytest.fixture
async def runner() -> AsyncIterator[ProcessRunner]:
    """Runs commands, with a supervisor of its own."""
    opened = ProcessRunner()
    yield opened
    await opened.close()


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """Submits jobs, asks for stops, looks at what became of them."""
    async with desk_of(database) as opened:
        yield opened


@pytest.fixture
async def bench(database: Database, desk: Desk, tmp_path: Path) -> AsyncIterator[Bench]:
    """Works on the attempts of handlers, one by one."""
    async with bench_of(desk, database, tmp_path) as opened:
        yield opened
