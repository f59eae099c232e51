"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.tests.worker.jobs_at_work import Desk, desk_of


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """Submits jobs, asks for stops, looks at what became of them."""
    async with desk_of(database) as opened:
        yield opened
