"""Table idempotency_keys: the first answer is the answer, for a day."""

from dataclasses import replace
from typing import Final

from reactorcide.eventstore.database import Database
from reactorcide.projections import idempotency
from reactorcide.projections.idempotency import Answer
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import OWNER, WORKER

FIRST: Final = Answer("/api/v1/jobs", b"\0" * 32, 201, "/api/v1/jobs/1", "{}")
_AGE: Final = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"


async def test_the_first_answer_stays(connection: Connection) -> None:
    """For this owner and key; a second one is not kept."""
    assert await idempotency.put(connection, OWNER, "k", FIRST)
    assert not await idempotency.put(connection, OWNER, "k", replace(FIRST, status=200))
    assert await idempotency.get(connection, OWNER, "k") == FIRST
    assert await idempotency.get(connection, WORKER, "k") is None
    assert await idempotency.get(connection, OWNER, "l") is None


async def test_a_key_is_free_again_after_a_day(connection: Connection) -> None:
    """Whether or not the old answer was pruned."""
    await idempotency.put(connection, OWNER, "k", FIRST)
    await idempotency.put(connection, OWNER, "l", FIRST)
    await connection.execute(_AGE)
    assert await idempotency.get(connection, OWNER, "k") is None
    assert await idempotency.put(connection, OWNER, "k", replace(FIRST, body="new"))
    assert await idempotency.prune(connection) == 1
    assert await connection.fetchval("SELECT key FROM idempotency_keys") == "k"


async def test_one_request_of_a_key_at_a_time(database: Database, connection: Connection) -> None:
    """The other is told so at once; the key is free when the transaction ends."""
    other = await database.connect()
    try:
        async with connection.transaction():
            assert await idempotency.try_lock(connection, OWNER, "k")
            assert not await idempotency.try_lock(other, OWNER, "k")
            assert await idempotency.try_lock(other, OWNER, "l")
        assert await idempotency.try_lock(other, OWNER, "k")
    finally:
        await other.close()
