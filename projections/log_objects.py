"""Table `log_objects`: the logs of ended attempts that lie in the object store. No fold of the log.

What an object holds, and where in it, is said by its layout; nothing here opens one.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Reader
from reactorcide.projections.log_blocks import Layout

_FIND: Final = """
SELECT job_id, attempt, object_key, block_ends, last_seqs, stdout_ends, stderr_ends
FROM log_objects
WHERE job_id = $1 AND ($2::int IS NULL OR attempt = $2) ORDER BY attempt"""

# What was noted is kept, and its chunks go, in one step; nothing of it when the note is gone.
_KEEP: Final = """
WITH noted AS (
    DELETE FROM unfinished_objects WHERE prefix = $3 RETURNING prefix
),
kept AS (
    INSERT INTO log_objects
    SELECT $1, $2, prefix, $4::bigint[], $5::int[], $6::bigint[], $7::bigint[] FROM noted
    ON CONFLICT (job_id, attempt) DO NOTHING
    RETURNING job_id, attempt
),
gone AS (
    DELETE FROM log_chunks WHERE (job_id, attempt) IN (SELECT job_id, attempt FROM kept)
)
SELECT EXISTS (SELECT FROM kept)"""

# The same for many, of one block each.
_KEEP_SMALL: Final = """
WITH made AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::bigint[], $5::int[], $6::bigint[], $7::bigint[]
    ) AS m (job_id, attempt, prefix, block_end, last_seq, stdout_end, stderr_end)
),
noted AS (
    DELETE FROM unfinished_objects WHERE prefix = ANY ($3) RETURNING prefix
),
kept AS (
    INSERT INTO log_objects
    SELECT job_id, attempt, prefix, ARRAY[block_end], ARRAY[last_seq], ARRAY[stdout_end],
        ARRAY[stderr_end]
    FROM made JOIN noted USING (prefix)
    ON CONFLICT (job_id, attempt) DO NOTHING
    RETURNING job_id, attempt, object_key
),
gone AS (
    DELETE FROM log_chunks AS c USING kept AS k
    WHERE c.job_id = k.job_id AND c.attempt = k.attempt
)
SELECT object_key FROM kept"""


class LogObject(NamedTuple):
    """The log of one attempt, as an object."""

    job_id: UUID
    attempt: int
    object_key: str
    layout: Layout


async def find(connection: Reader, job_id: UUID, attempt: int | None = None) -> Sequence[LogObject]:
    """Return the objects of a job, or of one attempt, by attempt."""
    found = await connection.fetch(_FIND, job_id, attempt)
    return [LogObject(row[0], row[1], row[2], Layout(*row[3:])) for row in found]


async def keep(connection: Reader, made: LogObject) -> bool:
    """Put an object in the place of the attempt's chunks, if it is still noted as unfinished.

    One statement: whoever reads finds the log in one of the two places. False: others were
    faster, or the job is gone; the object is nobody's then.
    """
    kept: bool = await connection.fetchval(
        _KEEP, made.job_id, made.attempt, made.object_key, *map(list, made.layout)
    )
    return kept


async def keep_small(connection: Reader, made: Sequence[LogObject]) -> frozenset[str]:
    """Do what `keep` does for objects of one block each; return the keys of those that are kept."""
    rows = [(*one[:3], *(ends[0] for ends in one.layout)) for one in made]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return frozenset(row[0] for row in await connection.fetch(_KEEP_SMALL, *columns))
