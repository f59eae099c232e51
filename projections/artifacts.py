"""Table `artifacts`: the files that attempts left for others, and where they lie. Not a fold.

Only the attempt that holds the job may add to them, as with its log.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.database import Reader

# The row lock makes the artifacts and the end of their attempt take turns.
_BEGIN: Final = """
WITH open AS MATERIALIZED (
    SELECT job_id, attempt FROM jobs
    WHERE job_id = $1 AND attempt = $2 AND status IN ('claimed', 'running') FOR SHARE
),
noted AS (
    INSERT INTO unfinished_objects (prefix, job_id, attempt)
    SELECT $3, job_id, attempt FROM open
    ON CONFLICT (prefix) DO UPDATE SET noted_at = now()
)
SELECT count(*)::int, coalesce(sum(size), 0)::bigint, EXISTS (SELECT FROM open)
FROM artifacts WHERE job_id = $1"""

_ADD: Final = """
WITH open AS MATERIALIZED (
    SELECT job_id, attempt FROM jobs
    WHERE job_id = $1 AND attempt = $2 AND status IN ('claimed', 'running') FOR SHARE
),
added AS (
    INSERT INTO artifacts (job_id, attempt, path, size, sha256, object_key)
    SELECT $1, $2, f.* FROM unnest($4::text[], $5::bigint[], $6::bytea[], $7::text[]) AS f
    WHERE EXISTS (SELECT FROM open)
    ON CONFLICT (job_id, attempt, path) DO NOTHING
),
noted AS (
    DELETE FROM unfinished_objects WHERE prefix = $3 AND EXISTS (SELECT FROM open)
)
SELECT EXISTS (SELECT FROM open)"""

_LIST: Final = """
SELECT path, size, sha256, object_key FROM artifacts
WHERE job_id = $1 AND attempt = coalesce($2, (
    SELECT attempt FROM artifacts WHERE job_id = $1 ORDER BY attempt DESC LIMIT 1
))
ORDER BY path"""

_GET: Final = """
SELECT path, size, sha256, object_key FROM artifacts
WHERE job_id = $1 AND path = $3 AND attempt = coalesce($2, (
    SELECT attempt FROM artifacts WHERE job_id = $1 ORDER BY attempt DESC LIMIT 1
))"""

_KEYS: Final = """
SELECT job_id, (
    SELECT object_key FROM log_objects AS l WHERE l.job_id = j.job_id
    ORDER BY attempt DESC LIMIT 1
), (
    SELECT attempt FROM artifacts AS a WHERE a.job_id = j.job_id ORDER BY attempt DESC LIMIT 1
) FROM unnest($1::uuid[]) AS j (job_id)"""


class Artifact(NamedTuple):
    """A file that an attempt left."""

    path: str
    """Relative, with `/` between its parts."""
    size: int
    sha256: bytes
    object_key: str


class Kept(NamedTuple):
    """How much a job has left already, in all its attempts."""

    files: int
    bytes: int


class ObjectKeys(NamedTuple):
    """Where a job's latest log object and its latest artifacts lie; None: there are none."""

    log: str | None = None
    artifacts: str | None = None


def prefix_of(job_id: UUID, attempt: int) -> str:
    """Return below which key the artifacts of an attempt lie."""
    return f"jobs/{job_id}/{attempt}/artifacts"


async def begin(connection: Reader, job_id: UUID, attempt: int) -> Kept | None:
    """Note that objects will be put below `prefix_of`; None: the attempt does not hold its job."""
    row = await connection.fetchrow(_BEGIN, job_id, attempt, prefix_of(job_id, attempt))
    assert row is not None  # noqa: S101  an aggregate
    files, size, is_open = row
    return Kept(files, size) if is_open else None


async def add(connection: Reader, job_id: UUID, attempt: int, files: Sequence[Artifact]) -> bool:
    """Add what was put, all at once; False: the attempt does not hold its job (any more).

    May be repeated.
    """
    columns = [list(column) for column in zip(*files, strict=True)] or [[], [], [], []]
    added: bool = await connection.fetchval(
        _ADD, job_id, attempt, prefix_of(job_id, attempt), *columns
    )
    return added


async def list_of(connection: Reader, job_id: UUID, attempt: int | None) -> list[Artifact]:
    """Return what an attempt left, by path; None: the latest attempt that left anything."""
    return [Artifact(*row) for row in await connection.fetch(_LIST, job_id, attempt)]


async def get(connection: Reader, job_id: UUID, path: str, attempt: int | None) -> Artifact | None:
    """Return one file of what `list_of` returns."""
    row = await connection.fetchrow(_GET, job_id, attempt, path)
    return None if row is None else Artifact(*row)


async def object_keys(connection: Reader, job_ids: Iterable[UUID]) -> dict[UUID, ObjectKeys]:
    """Return where the logs and artifacts of jobs lie, in one look."""
    found = await connection.fetch(_KEYS, list(job_ids))
    return {
        job_id: ObjectKeys(log, None if attempt is None else prefix_of(job_id, attempt))
        for job_id, log, attempt in found
    }
