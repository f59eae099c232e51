"""What the tests of the embedded server share: asking it, and which process it is."""

import asyncio

import asyncpg

from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postmaster import running_postmaster


async def query(uri: str, sql: str) -> object:
    """Ask the server one thing."""
    connection = await asyncpg.connect(uri)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def ask(uri: str, sql: str) -> object:
    """Ask the server one thing, from code that does not await."""
    return asyncio.run(query(uri, sql))


def pid_of(server: EmbeddedPostgres) -> int:
    """Return the number of the server that runs."""
    found = running_postmaster(server.data)
    assert found is not None
    return found.pid
