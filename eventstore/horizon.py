"""How far the log is settled: below the horizon no event can appear any more.

Positions are drawn before their transactions commit, so a reader that takes `position > last`
skips what commits late. A gap is either still being written or dead (rolled back, or refused
as a conflict). Whoever drew a position holds RowExclusiveLock on `events` from before the draw
until its end is visible; so when the transactions that hold it after a gap was seen have all
ended, the gap is dead or filled. CREATE INDEX CONCURRENTLY waits in the same way. Nobody waits
for a reader, and no transaction that does not write events delays one.

This module only reads.
"""

import asyncio
import random
from typing import Final

from reactorcide.eventstore.database import Connection

_GAPLESS_WINDOW: Final = 1000
_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.05

# The highest position that is visible, and how many are in the first stretch after $1.
_SEEN: Final = """
SELECT
    (SELECT max(position) FROM events),
    (SELECT count(*) FROM events WHERE position > $1 AND position <= $1 + $2::bigint)"""

# Who may be about to fill a gap. To be asked after the gap was seen, never before.
_HOLDERS: Final = """
SELECT virtualtransaction
FROM pg_locks
WHERE locktype = 'relation' AND relation = 'events'::regclass
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()"""

# The end of the gapless run that begins just after $1; none when $1 + 1 is missing.
_RUN_END: Final = """
SELECT position
FROM events AS e
WHERE position > $1 AND NOT EXISTS (SELECT FROM events WHERE position = e.position + 1)
    AND EXISTS (SELECT FROM events WHERE position = $1 + 1)
ORDER BY position LIMIT 1"""


async def safe_position(connection: Connection, after: int, patience_seconds: float = 1.0) -> int:
    """Return a position, `after` at least, up to which every event is now visible or never is.

    Read with `read_all` afterwards, in a new snapshot: outside of a transaction, or in a READ
    COMMITTED one that appended nothing itself. At a gap it waits, at most `patience_seconds`,
    for the transactions that might fill it, and then answers with the end of the run before
    the gap. `after` must itself be safe: a checkpoint, or 0.
    """
    highest, in_window = await connection.fetchrow(  # type: ignore[misc]  # always one row
        _SEEN, after, _GAPLESS_WINDOW
    )
    if highest is None or highest <= after:
        return after
    if highest - after == in_window:
        return int(highest)
    if await _ended(connection, await _holders(connection), patience_seconds):
        return int(highest)
    return await connection.fetchval(_RUN_END, after) or after


async def _holders(connection: Connection) -> set[str]:
    """Return the transactions that may have drawn a position and not ended."""
    return {row[0] for row in await connection.fetch(_HOLDERS)}


async def _ended(connection: Connection, holders: set[str], patience_seconds: float) -> bool:
    """Wait until none of these very transactions is left; False when patience ends first."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience_seconds
    pause = _FIRST_PAUSE_SECONDS
    while holders:
        if clock() >= deadline:
            return False
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  jitter is no secret
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        holders &= await _holders(connection)
    return True
