"""Table `object_store`: which object store is the one that the API reads. No fold of the log.

A process whose own store is another one (a directory of its own machine, say) must not put
anything there: nobody would find it.
"""

from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Reader

_ANNOUNCE: Final = """
INSERT INTO object_store (store_id) VALUES ($1)
ON CONFLICT (is_the_one) DO UPDATE SET store_id = excluded.store_id
WHERE object_store.store_id <> excluded.store_id"""

_JOIN: Final = """
WITH first AS (
    INSERT INTO object_store (store_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING store_id
)
SELECT store_id FROM first UNION ALL SELECT store_id FROM object_store LIMIT 1"""

_KNOWN: Final = "SELECT store_id FROM object_store"


async def announce(connection: Reader, store_id: UUID) -> None:
    """Say that this store is the one. For the API, which shows what is in there."""
    await connection.execute(_ANNOUNCE, store_id)


async def join(connection: Reader, store_id: UUID) -> bool:
    """Tell whether this store is the one; it becomes so when nobody has said which is."""
    found = await connection.fetchval(_JOIN, store_id)
    return found is None or found == store_id


async def known(connection: Reader) -> UUID | None:
    """Return the store that is the one; None when nobody has said which is."""
    found: UUID | None = await connection.fetchval(_KNOWN)
    return found
