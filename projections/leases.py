"""Who is still alive: table `worker_beats`, and `lease_until` of the jobs that workers hold.

Neither is a fold of the log. A claim opens a lease and what ends the attempt closes it (see
`job_rows.rows`); here it is moved on. Time is the database's: no process compares its own clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Reader

# Rows are locked in the order in which they are asked for, that of their ids, as everybody does
# who locks several. Each is looked up by its key: of a partition that was empty when the planner
# was told of it, it would rather walk the whole index, dead rows and all.
_BEAT: Final = """
WITH heard AS (
    INSERT INTO worker_beats (worker_id, beat_at) VALUES ($1, now())
    ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at
),
held AS MATERIALIZED (
    SELECT j.job_id, j.attempt, j.cancel_grace_seconds
    FROM unnest($2::uuid[], $3::int[]) AS a (job_id, attempt)
    CROSS JOIN LATERAL (
        SELECT * FROM jobs_held
        WHERE job_id = a.job_id AND attempt = a.attempt AND worker_id = $1 FOR UPDATE
    ) AS j
),
renewed AS (
    UPDATE jobs_held SET lease_until = now() + $4::float8 * interval '1 second'
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM held))
)
SELECT job_id, attempt, cancel_grace_seconds, NULL::bigint AS rank, NULL::bigint AS alive FROM held
UNION ALL
SELECT NULL, NULL, NULL, count(*) FILTER (WHERE worker_id < $1), count(*)
FROM worker_beats WHERE beat_at > now() - interval '1 minute' AND worker_id <> $1"""


@dataclass(frozen=True, slots=True)
class Beaten:
    """What a beat says."""

    held: Mapping[tuple[UUID, int], int | None]
    """The attempts that the worker still holds. None: nobody asked for a stop. Else TERM, this
    many seconds, KILL; 0 is KILL at once."""
    rank: int
    """How many of the other living workers come before this one."""
    alive: int
    """How many workers there are, this one included."""


async def beat(
    connection: Reader, worker_id: UUID, attempts: Iterable[tuple[UUID, int]], lease_seconds: float
) -> Beaten:
    """Say that a worker lives; renew the leases of what it still holds, and return that.

    One statement. An attempt that is not in the answer is lost: its command must be killed.
    A lease that is over is renewed as long as nobody has noticed: the log decides when it is
    lost, not the clock alone.
    """
    ordered = sorted(attempts)
    job_ids, numbers = [job_id for job_id, _ in ordered], [attempt for _, attempt in ordered]
    found = await connection.fetch(_BEAT, worker_id, job_ids, numbers, lease_seconds)
    held = {(row["job_id"], row["attempt"]): row["cancel_grace_seconds"] for row in found}
    graces = {key: grace_seconds for key, grace_seconds in held.items() if key[0] is not None}
    others = next(row for row in found if row["job_id"] is None)
    return Beaten(graces, others["rank"], others["alive"] + 1)
