"""Fixtures of the projections' tests."""

from collections.abc import AsyncIterator

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.tests.conftest import Connection


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Connection]:
    """A connection as a worker's appender has one."""
    opened = await database.connect_writer()
    yield opened
    await opened.close()
