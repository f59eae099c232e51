"""A moment as a position of the log: the whole as of then is what the log holds up to there.

A time is the last position up to which everything had been recorded by then. That cut is the
same for all streams, and keeps cause before effect: what it holds, it holds with all that came
before. Reads the log and `audit_events`; writes nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.horizon import safe_position
from reactorcide.projections import checkpoints
from reactorcide.projections.audit_events import SUBSCRIPTION

LONGEST_SECONDS: Final = 30
"""A statement that takes longer is given up."""

# One that looks back may touch much of a table: planned for its values, joined as a whole.
_LOOKING_BACK: Final = f"""
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL enable_seqscan = on;
SET LOCAL enable_bitmapscan = on;
SET LOCAL work_mem = '32MB';
SET LOCAL statement_timeout = '{LONGEST_SECONDS}s'"""

# `reached_at` ascends with the positions; behind the checkpoint $1 the log itself is asked.
_POSITION_AT: Final = """
SELECT coalesce(
    (
        SELECT position - 1 FROM audit_events
        WHERE reached_at > $2 AND position <= $1 ORDER BY reached_at, position LIMIT 1
    ),
    (
        SELECT position - 1 FROM events
        WHERE position > $1 AND recorded_at > $2 ORDER BY position LIMIT 1
    ),
    (SELECT max(position) FROM events),
    0
)"""
_REACHED_AT: Final = """
SELECT greatest(
    (
        SELECT reached_at FROM audit_events
        WHERE position <= least($1, $2::bigint) ORDER BY position DESC LIMIT 1
    ),
    (SELECT max(recorded_at) FROM events WHERE position > $1 AND position <= $2)
)"""


class TooFarBack(Exception):  # noqa: N818  named by what is so, like the rejections
    """So much has happened since the moment that the answer takes too long."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The log up to a position, and the time that it had reached there."""

    position: int
    reached_at: datetime | None
    """The latest `recorded_at` up to there; None before the first event."""


@asynccontextmanager
async def looking_back(pool: Pool) -> AsyncIterator[Connection]:
    """Lend a connection for statements that may take long. Raises TooFarBack."""
    try:
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute(_LOOKING_BACK)
            yield connection
    except asyncpg.QueryCanceledError:
        raise TooFarBack from None


async def cut_at(pool: Pool, moment: int | datetime) -> Cut:
    """Return the cut of a moment that is not to come. Raises TooFarBack.

    Waits a second at most for transactions that may still add to what lies before it; what one
    that takes longer adds there is not in the answer.
    """
    async with looking_back(pool) as connection:
        checkpoint = await checkpoints.position(connection, SUBSCRIPTION.name)
        await safe_position(connection, checkpoint)
        if isinstance(moment, datetime):
            position: int = await connection.fetchval(_POSITION_AT, checkpoint, moment)
        else:
            position = moment
        return Cut(position, await connection.fetchval(_REACHED_AT, checkpoint, position))
