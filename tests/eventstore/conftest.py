"""Fixtures of the log's tests."""

from collections.abc import AsyncIterator

import pytest

from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.tests.eventstore.appending import Rows


@pytest.fixture
def rows() -> Rows:
    """What each statement was made of."""
    return Rows()


@pytest.fixture
async def appender(database: Database, rows: Rows) -> AsyncIterator[Appender[str]]:
    """An appender with one connection: a second call waits for the first one's end."""
    async with Appender(database, rows, connections=1) as opened:
        yield opened
