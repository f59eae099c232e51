"""Table `log_chunks`: what commands print, as they print it. Not a fold of the log.

Chunks are numbered 1, 2, 3 … within an attempt, over both streams. Only the attempt that
holds the job may add to them. Once it has ended, a log goes into the object store, a small
one later: whoever reads logs asks `logs`, which knows both places.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from reactorcide.eventstore.database import Reader

Stream: TypeAlias = Literal["stdout", "stderr"]

# Returns the refused attempts. The row lock makes a chunk and the end of its attempt take
# turns: nothing is added after the outcome.
_APPEND: Final = """
WITH chunks AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::bytea[]
    ) AS c (job_id, attempt, seq, stream, printed_at, bytes)
),
open AS MATERIALIZED (
    SELECT job_id, attempt FROM jobs
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM chunks)) AND status IN ('claimed', 'running')
    ORDER BY job_id FOR SHARE
),
added AS (
    INSERT INTO log_chunks (job_id, attempt, seq, stream, printed_at, bytes)
    SELECT * FROM chunks WHERE (job_id, attempt) IN (SELECT job_id, attempt FROM open)
    ON CONFLICT (job_id, attempt, seq) DO NOTHING
)
SELECT DISTINCT job_id, attempt FROM chunks
WHERE (job_id, attempt) NOT IN (SELECT job_id, attempt FROM open)"""

# At least one chunk, then as many as stay within $6 bytes; never more than 1,000 rows.
_READ: Final = """
SELECT job_id, attempt, seq, stream, printed_at, bytes FROM (
    SELECT *, sum(octet_length(bytes)) OVER (ORDER BY attempt, seq) - octet_length(bytes) AS ahead
    FROM (
        SELECT * FROM log_chunks
        WHERE job_id = $1 AND (attempt, seq) > ($2, $3)
            AND ($4::int IS NULL OR attempt = $4) AND ($5::text IS NULL OR stream = $5)
        ORDER BY attempt, seq LIMIT 1000
    ) AS next
) AS counted
WHERE ahead < $6 ORDER BY attempt, seq"""

_READ_ALL: Final = """
SELECT c.job_id, c.attempt, c.seq, c.stream, c.printed_at, c.bytes
FROM log_chunks AS c JOIN unnest($1::uuid[], $2::int[]) AS a (job_id, attempt)
    ON c.job_id = a.job_id AND c.attempt = a.attempt
ORDER BY c.job_id, c.attempt, c.seq"""

_READ_BACK: Final = """
SELECT job_id, attempt, seq, stream, printed_at, bytes FROM log_chunks
WHERE job_id = $1 AND (attempt, seq) < ($2, $3)
    AND ($4::int IS NULL OR attempt = $4) AND ($5::text IS NULL OR stream = $5)
ORDER BY attempt DESC, seq DESC LIMIT 50"""

_SIZES: Final = """
SELECT attempt, sum(octet_length(bytes))::bigint FROM log_chunks
WHERE job_id = $1 AND ($2::int IS NULL OR attempt = $2) AND ($3::text IS NULL OR stream = $3)
GROUP BY attempt"""

# The bytes from $4 up to $5 of a log laid end to end: the chunks they lie in, and where the
# first of these begins.
_RANGE: Final = """
SELECT bytes, until - octet_length(bytes) AS start FROM (
    SELECT attempt, seq, bytes, sum(octet_length(bytes)) OVER (ORDER BY attempt, seq) AS until
    FROM log_chunks
    WHERE job_id = $1 AND ($2::int IS NULL OR attempt = $2) AND ($3::text IS NULL OR stream = $3)
) AS laid
WHERE until > $4 AND until - octet_length(bytes) < $5
ORDER BY attempt, seq"""

_HEADS: Final = """
SELECT job_id, version, attempt, coalesce((
    SELECT seq FROM log_chunks AS c WHERE c.job_id = j.job_id AND c.attempt = j.attempt
    ORDER BY seq DESC LIMIT 1
), 0) FROM jobs AS j WHERE job_id = ANY ($1::uuid[])"""


class LogChunk(NamedTuple):
    """A piece of what an attempt's command printed."""

    job_id: UUID
    attempt: int
    seq: int
    stream: Stream
    printed_at: datetime
    bytes: bytes


class Head(NamedTuple):
    """How far a job and its log have come: it differs when there is anything new."""

    version: int
    attempt: int
    seq: int
    """Of the latest attempt's last chunk; 0 without any."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a job's log is meant."""

    job_id: UUID
    attempt: int | None = None
    """None: all attempts, one after the other."""
    stream: Stream | None = None
    """None: both, in the order in which they were printed."""


async def append_chunks(
    connection: Reader, chunks: Sequence[LogChunk]
) -> frozenset[tuple[UUID, int]]:
    """Add chunks, in one statement; return the attempts that were refused.

    A refused attempt does not hold its job (any more): nothing of it was added and its
    command must be killed. A chunk that is there already is left alone, so a call may be
    repeated.
    """
    if not chunks:
        return frozenset()
    columns = [list(column) for column in zip(*chunks, strict=True)]
    refused = await connection.fetch(_APPEND, *columns)
    return frozenset((row[0], row[1]) for row in refused)


async def read(
    connection: Reader, part: Part, after: tuple[int, int] = (0, 0), limit_bytes: int = 1 << 20
) -> list[LogChunk]:
    """Return the next chunks after `(attempt, seq)`, in order; [] when there are none yet.

    About `limit_bytes` of them: the chunk that passes the limit is still in.
    """
    found = await connection.fetch(
        _READ, part.job_id, *after, part.attempt, part.stream, limit_bytes
    )
    return [LogChunk(*row) for row in found]


async def read_all(
    connection: Reader, attempts: Iterable[tuple[UUID, int]]
) -> dict[tuple[UUID, int], list[LogChunk]]:
    """Return the chunks of attempts whose logs are known to be small, in order."""
    columns = [list(column) for column in zip(*attempts, strict=True)]
    found: dict[tuple[UUID, int], list[LogChunk]] = {}
    for row in await connection.fetch(_READ_ALL, *columns):
        found.setdefault((row[0], row[1]), []).append(LogChunk(*row))
    return found


async def read_back(connection: Reader, part: Part, before: tuple[int, int]) -> list[LogChunk]:
    """Return some chunks before `(attempt, seq)`, the last one first; [] when there are none."""
    found = await connection.fetch(_READ_BACK, part.job_id, *before, part.attempt, part.stream)
    return [LogChunk(*row) for row in found]


async def tail_of(backwards: AsyncIterator[LogChunk], lines: int) -> list[LogChunk]:
    """Return the last `lines` lines of chunks that come last one first; in order.

    The first chunk of them may begin in its middle.
    """
    taken: list[LogChunk] = []
    wanted = lines
    async for chunk in backwards:
        if not taken:  # a newline at the very end closes the last line and begins none
            wanted += chunk.bytes.endswith(b"\n")
        newlines = chunk.bytes.count(b"\n")
        if newlines >= wanted:
            taken.append(chunk._replace(bytes=_after_newline(chunk.bytes, wanted)))
            break
        wanted -= newlines
        taken.append(chunk)
    return [chunk for chunk in reversed(taken) if chunk.bytes]


def _after_newline(data: bytes, nth: int) -> bytes:
    """Return what follows the `nth` newline from the end; nothing follows the 0th."""
    end = len(data)
    for _ in range(nth):
        end = data.rindex(b"\n", 0, end)
    return data[end + 1 :]


async def heads(connection: Reader, job_ids: Iterable[UUID]) -> dict[UUID, Head]:
    """Return how far these jobs have come, in one look; an unknown one has no key."""
    found = await connection.fetch(_HEADS, list(job_ids))
    return {row[0]: Head(row[1], row[2], row[3]) for row in found}


async def sizes(connection: Reader, part: Part) -> dict[int, int]:
    """Return how many bytes of a part each attempt has by now; without any it has no key."""
    found = await connection.fetch(_SIZES, part.job_id, part.attempt, part.stream)
    return {row[0]: row[1] for row in found}


async def read_range(connection: Reader, part: Part, start: int, stop: int) -> bytes:
    """Return bytes `start` (included) to `stop` (not included) of a part laid end to end."""
    found = await connection.fetch(_RANGE, part.job_id, part.attempt, part.stream, start, stop)
    if not found:
        return b""
    first = int(found[0]["start"])
    return b"".join(row["bytes"] for row in found)[max(start - first, 0) : stop - first]
