"""Table `leases` (opened and closed by `jobs.rows`) and `worker_beats`: who is still alive.

Neither is a fold of the log. Time is the database's: no process compares its own clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from reactorcide.eventstore.database import Reader

# Rows are locked in the order of their ids, as everybody does who locks several.
_BEAT: Final = """
WITH heard AS (
    INSERT INTO worker_beats (worker_id, beat_at) VALUES ($1, now())
    ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at
),
held AS MATERIALIZED (
    SELECT l.job_id, l.attempt FROM leases AS l
    JOIN unnest($2::uuid[], $3::int[]) AS a (job_id, attempt) USING (job_id, attempt)
    WHERE l.worker_id = $1
    ORDER BY l.job_id FOR UPDATE OF l
),
renewed AS (
    UPDATE leases SET lease_until = now() + $4::float8 * interval '1 second'
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM held))
)
SELECT held.job_id, held.attempt, jobs.cancel_grace_seconds
FROM held JOIN jobs ON jobs.job_id = held.job_id"""


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that its worker still holds."""

    job_id: UUID
    attempt: int
    cancel_grace_seconds: int | None
    """None: nobody asked for a stop. Else TERM, this many seconds, KILL; 0 is KILL at once."""


async def beat(
    connection: Reader, worker_id: UUID, attempts: Iterable[tuple[UUID, int]], lease_seconds: float
) -> dict[tuple[UUID, int], Held]:
    """Say that a worker lives; renew the leases of what it still holds, and return that.

    One statement. An attempt that is not in the answer is lost: its command must be killed.
    A lease that is over is renewed as long as nobody has noticed: the log decides when it is
    lost, not the clock alone.
    """
    ordered = sorted(attempts)
    job_ids, numbers = [job_id for job_id, _ in ordered], [attempt for _, attempt in ordered]
    found = await connection.fetch(_BEAT, worker_id, job_ids, numbers, lease_seconds)
    return {(row[0], row[1]): Held(row[0], row[1], row[2]) for row in found}
