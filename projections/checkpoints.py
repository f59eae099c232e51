"""Table `checkpoints`: how far each asynchronous projection is, and who may move it.

Who holds the projection's lock may: one session in the whole cluster, until it ends. The lock
is the session's, so a program that dies lets go of it at once. All writes and all queries of
the table are here; what is written between two checkpoints is not known here.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from reactorcide.eventstore.database import READER, Connection, Database, Reader

# A server forgets a session whose machine is gone after 3 s, one whose program stands still
# after 10 s: then somebody else takes over. Each is much longer than a runner is silent.
_SESSION: Final = {
    **READER,
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "idle_session_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
_CLOSE_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 60.0
"""A slice of a projection is written sooner, or never."""

# Advisory locks of two numbers: the first is ours alone.
_TAKE: Final = "SELECT pg_try_advisory_lock(1380008020, hashtext($1))"
_GIVE_BACK: Final = "SELECT pg_advisory_unlock(1380008020, hashtext($1))"

_BEGIN: Final = """
INSERT INTO checkpoints (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING"""
_POSITION: Final = "SELECT position FROM checkpoints WHERE name = $1"
_MOVE: Final = """
UPDATE checkpoints
SET position = $3, moved_at = now(), stopped_position = NULL, stopped_type = NULL
WHERE name = $1 AND position = $2
RETURNING position"""
_STOP: Final = """
UPDATE checkpoints SET stopped_position = $2, stopped_type = $3
WHERE name = $1 AND (stopped_position, stopped_type) IS DISTINCT FROM ($2, $3)"""

# Gaps count as events: to count those is to read them.
_STANDINGS: Final = """
SELECT
    n.name, coalesce(c.position, 0) AS position,
    greatest(head.position - coalesce(c.position, 0), 0) AS lag_events,
    coalesce(extract(epoch FROM now() - (
        SELECT recorded_at FROM events AS e WHERE e.position > coalesce(c.position, 0)
        ORDER BY e.position LIMIT 1
    )), 0)::float8 AS lag_seconds,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = 1380008020 AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND objid = (hashtext(n.name)::bigint & 4294967295)::oid
    ) AS is_followed,
    c.stopped_position, c.stopped_type
FROM unnest($1::text[]) AS n (name)
LEFT JOIN checkpoints AS c USING (name)
CROSS JOIN (SELECT coalesce(max(position), 0) AS position FROM events) AS head
ORDER BY n.name"""


class CheckpointMoved(Exception):  # noqa: N818  named by what is so, like the database's errors
    """Somebody else moved the checkpoint meanwhile: what was written after it must go."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a projection stands to the log."""

    name: str
    position: int
    """Everything up to here is in its table."""
    lag_events: int
    """At most so many events are not; positions that were drawn in vain count too."""
    lag_seconds: float
    """Since when the first of them is recorded; 0 without any."""
    is_followed: bool
    """Somebody runs it."""
    stopped_position: int | None
    stopped_type: str | None

    @property
    def why(self) -> str:
        """Why it is behind, or that it is not."""
        if self.stopped_position is not None:
            return (
                f"stopped: the event {self.stopped_type} at position {self.stopped_position} "
                "can't be read by the version that runs it"
            )
        if not self.is_followed:
            return "nobody runs it"
        return "following" if self.lag_events else "up to date"


@asynccontextmanager
async def session(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection to take a lock on. Raises DatabaseUnavailable."""
    connection = await database.connect(role=True, answer_seconds=_ANSWER_SECONDS, **_SESSION)
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
            connection.terminate()


async def take(connection: Connection, name: str) -> bool:
    """Take the projection's lock for this session, unless another one has it."""
    is_ours: bool = await connection.fetchval(_TAKE, name)
    if is_ours:
        await connection.execute(_BEGIN, name)
    return is_ours


async def give_back(connection: Connection, name: str) -> None:
    """Let others have the projection's lock."""
    await connection.execute(_GIVE_BACK, name)


async def position(connection: Reader, name: str) -> int:
    """Return up to where everything is in the projection's table; 0 before it began."""
    return await connection.fetchval(_POSITION, name) or 0


async def move(connection: Connection, name: str, after: int, until: int) -> None:
    """Move the checkpoint on, in the transaction that writes the rows.

    Raises CheckpointMoved when it is not at `after`.
    """
    if await connection.fetchval(_MOVE, name, after, until) is None:
        raise CheckpointMoved(name)


async def stop(connection: Connection, name: str, at: int, wire_type: str) -> None:
    """Note the event that is in the way; the next move forgets it."""
    await connection.execute(_STOP, name, at, wire_type)


async def standings(connection: Reader, names: Iterable[str]) -> list[Standing]:
    """Return how these projections stand to the log, by name."""
    return [Standing(*row) for row in await connection.fetch(_STANDINGS, list(names))]
