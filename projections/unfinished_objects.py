"""Table `unfinished_objects`: what may lie in the object store without being of use. No fold.

Whoever puts objects notes their prefix here before, and takes the note away in the statement that
makes them count. What a crash leaves is found here; so is what belongs to jobs that are deleted.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Reader

DELETED: Final = 0
"""Instead of an attempt: the whole job is being deleted."""

# One process looks for logs at a time; it notes what it takes. A note that is old was left by
# somebody who died, and no reason to wait. The partial index makes this as cheap as there are
# large logs in the table.
_TAKE_LOGS: Final = """
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('reactorcide_log_objects')) AS is_ours
),
large AS (
    SELECT DISTINCT c.job_id, c.attempt FROM log_chunks AS c
    WHERE (c.seq = 16 OR (c.seq < 16 AND octet_length(c.bytes) >= 2048))
        AND (SELECT is_ours FROM turn)
        AND NOT EXISTS (
            SELECT FROM jobs_held AS j WHERE j.job_id = c.job_id AND j.attempt = c.attempt
        )
        AND NOT EXISTS (
            SELECT FROM unfinished_objects AS u
            WHERE u.job_id = c.job_id AND u.attempt = c.attempt AND u.prefix LIKE '%/log-%'
                AND u.noted_at > now() - interval '10 minutes'
        )
    LIMIT $1
)
INSERT INTO unfinished_objects (prefix, job_id, attempt)
SELECT format('jobs/%s/%s/log-%s.ndjson.gz', job_id, attempt, left(gen_random_uuid()::text, 8)),
    job_id, attempt
FROM large
RETURNING prefix, job_id, attempt"""

# The next attempts of which there is a log, in the order of their jobs; the ones that have ended
# and are small (the others: above) are noted.
_TAKE_SMALL_LOGS: Final = """
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('reactorcide_log_objects')) AS is_ours
),
next AS MATERIALIZED (
    SELECT job_id, attempt, printed_at FROM log_chunks
    WHERE seq = 1 AND (job_id, attempt) > ($1, $2) AND (SELECT is_ours FROM turn)
    ORDER BY job_id, attempt LIMIT $3
),
noted AS (
    INSERT INTO unfinished_objects (prefix, job_id, attempt)
    SELECT
        format('jobs/%s/%s/log-%s.ndjson.gz', job_id, attempt, left(gen_random_uuid()::text, 8)),
        job_id, attempt
    FROM next AS n
    WHERE printed_at < now() - $4::float8 * interval '1 second'
        AND NOT EXISTS (
            SELECT FROM jobs_held AS j WHERE j.job_id = n.job_id AND j.attempt = n.attempt
        )
        AND NOT EXISTS (
            SELECT FROM unfinished_objects AS u
            WHERE u.job_id = n.job_id AND u.attempt = n.attempt AND u.prefix LIKE '%/log-%'
                AND u.noted_at > now() - interval '10 minutes'
        )
        AND NOT EXISTS (
            SELECT FROM log_chunks AS c WHERE c.job_id = n.job_id AND c.attempt = n.attempt
                AND (c.seq = 16 OR (c.seq < 16 AND octet_length(c.bytes) >= 2048))
        )
    RETURNING prefix, job_id, attempt
)
SELECT noted.prefix, next.job_id, next.attempt FROM next LEFT JOIN noted USING (job_id, attempt)
ORDER BY next.job_id, next.attempt"""

_NOTE_DELETED: Final = """
INSERT INTO unfinished_objects (prefix, job_id, attempt)
SELECT format('jobs/%s', job_id), job_id, 0 FROM unnest($1::uuid[]) AS job_id
ON CONFLICT (prefix) DO UPDATE SET noted_at = now()"""

# As if an attempt had left it: what nobody takes away goes by itself.
_NOTE_ARCHIVE: Final = """
INSERT INTO unfinished_objects (prefix, job_id, attempt) VALUES ($1, $2, 1)"""

# Left by an attempt that does not run any more, long enough ago that nobody still puts.
_LEFT: Final = """
SELECT prefix, job_id, attempt FROM unfinished_objects AS u
WHERE attempt > 0 AND noted_at <= now() - $1::float8 * interval '1 second'
    AND NOT EXISTS (SELECT FROM jobs_held AS j WHERE j.job_id = u.job_id AND j.attempt = u.attempt)
ORDER BY noted_at LIMIT $2"""

_DELETED: Final = """
SELECT u.prefix, u.job_id, EXISTS (
    SELECT FROM log_objects AS l WHERE l.job_id = u.job_id
    UNION ALL SELECT FROM artifacts AS a WHERE a.job_id = u.job_id
    UNION ALL SELECT FROM unfinished_objects AS n WHERE n.job_id = u.job_id AND n.attempt > 0
) AS has_objects
FROM unfinished_objects AS u JOIN jobs_deleted AS d ON d.job_id = u.job_id
WHERE u.attempt = 0 ORDER BY u.noted_at LIMIT $1"""

_FORGET_JOB: Final = """
WITH chunks AS (DELETE FROM log_chunks WHERE job_id = $1),
logs AS (DELETE FROM log_objects WHERE job_id = $1),
files AS (DELETE FROM artifacts WHERE job_id = $1)
DELETE FROM unfinished_objects WHERE job_id = $1"""

_FORGET: Final = "DELETE FROM unfinished_objects WHERE prefix = ANY ($1)"

# The command that was to delete the job was refused, or never came.
_FORGET_UNDELETED: Final = """
DELETE FROM unfinished_objects AS u
WHERE attempt = 0 AND noted_at <= now() - $1::float8 * interval '1 second'
    AND NOT EXISTS (SELECT FROM jobs_deleted AS d WHERE d.job_id = u.job_id)"""


class Unfinished(NamedTuple):
    """Objects below a prefix, or one of that name, of which nothing has come yet."""

    prefix: str
    job_id: UUID
    attempt: int


async def take_logs(connection: Reader, limit: int) -> list[Unfinished]:
    """Note and return logs that belong into the store: of attempts that ended, and not small.

    Now and then another process has taken the same ones: `log_objects.keep` takes one of each.
    """
    return [Unfinished(*row) for row in await connection.fetch(_TAKE_LOGS, limit)]


async def take_small_logs(
    connection: Reader, after: tuple[UUID, int], limit: int, rest_seconds: float
) -> tuple[list[Unfinished], tuple[UUID, int] | None]:
    """Look at the next logs after `(job_id, attempt)`; note and return those that are to go.

    Those of attempts that have ended, small, and begun `rest_seconds` ago. With them comes where
    to go on; None at the end.
    """
    found = await connection.fetch(_TAKE_SMALL_LOGS, *after, limit, rest_seconds)
    taken = [Unfinished(*row) for row in found if row[0] is not None]
    return taken, (found[-1][1], found[-1][2]) if len(found) == limit else None


async def note_deleted(connection: Reader, job_id: UUID) -> None:
    """Say that a job is about to be deleted, with all that it left."""
    await connection.execute(_NOTE_DELETED, [job_id])


async def note_archive(connection: Reader, key: str, object_id: UUID) -> None:
    """Say that an archive object is of no use yet, or not any more."""
    await connection.execute(_NOTE_ARCHIVE, key, object_id)


async def left(connection: Reader, older_than_seconds: float, limit: int) -> list[Unfinished]:
    """Return what attempts that do not run any more have left."""
    return [Unfinished(*row) for row in await connection.fetch(_LEFT, older_than_seconds, limit)]


async def deleted(connection: Reader, limit: int) -> list[tuple[Unfinished, bool]]:
    """Return deleted jobs of which something may be left, and whether objects are."""
    found = await connection.fetch(_DELETED, limit)
    return [(Unfinished(row[0], row[1], DELETED), row[2]) for row in found]


async def forget(connection: Reader, *unfinished: Unfinished) -> None:
    """Take notes away: nothing lies there any more."""
    await forget_prefixes(connection, [one.prefix for one in unfinished])


async def forget_prefixes(connection: Reader, prefixes: Sequence[str]) -> None:
    """Take the notes of prefixes away."""
    await connection.execute(_FORGET, prefixes)


async def forget_job(connection: Reader, job_id: UUID) -> None:
    """Take away all that is in the tables of a deleted job's log and artifacts."""
    await connection.execute(_FORGET_JOB, job_id)


async def forget_undeleted(connection: Reader, older_than_seconds: float) -> None:
    """Take away the notes of jobs that were not deleted after all."""
    await connection.execute(_FORGET_UNDELETED, older_than_seconds)
