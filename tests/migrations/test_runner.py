"""The schema goes up and down."""

import asyncpg


async def test_a_database_of_a_test_has_the_schema(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The fixture lends a migrated database."""
    assert await connection.fetchval("SELECT count(*) FROM events") == 0
