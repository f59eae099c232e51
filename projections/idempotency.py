"""Table `idempotency_keys`: the first answer to a keyed submit. Not a fold of the log.

Within one transaction: `try_lock`, `get`, do the work, `put`. Then two requests of one key
never both do the work, and a refused one leaves no row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Connection, Reader

# The lock's number is a hash: two keys that share one only wait for each other needlessly.
_TRY_LOCK: Final = """
SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2, 6080))"""
_GET: Final = """
SELECT path, body_sha256, status, location, body FROM idempotency_keys
WHERE user_id = $1 AND key = $2 AND created_at > now() - interval '24 hours'"""
_PUT: Final = """
INSERT INTO idempotency_keys AS k (user_id, key, path, body_sha256, status, location, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (user_id, key) DO UPDATE SET
    path = excluded.path, body_sha256 = excluded.body_sha256, status = excluded.status,
    location = excluded.location, body = excluded.body, created_at = now()
WHERE k.created_at <= now() - interval '24 hours'
RETURNING true"""
_NAMING: Final = """
SELECT key, body FROM idempotency_keys
WHERE user_id = $1 AND strpos(body, $2::uuid::text) > 0 FOR UPDATE"""
# A hash of nothing: what was asked could be guessed by that of the request.
_ERASE: Final = """
UPDATE idempotency_keys SET body = $3, body_sha256 = '' WHERE user_id = $1 AND key = $2"""
_PRUNE: Final = """
WITH old AS (
    DELETE FROM idempotency_keys WHERE (user_id, key) IN (
        SELECT user_id, key FROM idempotency_keys
        WHERE created_at <= now() - interval '24 hours' LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM old"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a keyed request was, and how it was answered."""

    path: str
    body_sha256: bytes
    """Of the request."""
    status: int
    location: str | None
    body: str
    """Of the answer."""


async def try_lock(connection: Connection, user_id: UUID, key: str) -> bool:
    """Take the key until the transaction ends; False when another request is under way."""
    is_ours: bool = await connection.fetchval(_TRY_LOCK, user_id, key)
    return is_ours


async def get(connection: Reader, user_id: UUID, key: str) -> Answer | None:
    """Return the first answer to this key, for 24 hours."""
    row = await connection.fetchrow(_GET, user_id, key)
    return None if row is None else Answer(*row)


async def put(connection: Reader, user_id: UUID, key: str, answer: Answer) -> bool:
    """Keep the first answer; False when another one is already kept."""
    is_kept: bool | None = await connection.fetchval(
        _PUT,
        user_id,
        key,
        answer.path,
        answer.body_sha256,
        answer.status,
        answer.location,
        answer.body,
    )
    return bool(is_kept)


async def redact(
    connection: Connection, user_id: UUID, job_id: UUID, erase: Callable[[str], str]
) -> None:
    """Pass the answers that name a job through `erase`. Their keys are used up for any body."""
    for key, body in await connection.fetch(_NAMING, user_id, job_id):
        await connection.execute(_ERASE, user_id, key, erase(body))


async def prune(connection: Reader) -> int:
    """Drop up to 1,000 answers older than 24 hours; return how many."""
    dropped: int = await connection.fetchval(_PRUNE)
    return dropped
