"""Table log_chunks: fenced by the attempt, read in order."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from reactorcide.eventstore.domain.job import FinishAttempt, Released
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import log_chunks
from reactorcide.projections.log_chunks import LogChunk, Part, Stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal, now

AT: Final = datetime(2030, 1, 1, tzinfo=UTC)

_WRITE: Final = "INSERT INTO log_chunks VALUES ($1, $2, $3, $4, $5, $6)"


def _chunk(
    job_id: UUID, seq: int, data: bytes, attempt: int = 1, stream: Stream = "stdout"
) -> LogChunk:
    return LogChunk(job_id, attempt, seq, stream, AT, data)


async def _written(connection: Connection, *pieces: bytes) -> UUID:
    """Return a job whose first attempt printed these pieces, stderr every third."""
    job_id = new_id()
    await connection.executemany(
        _WRITE,
        [
            _chunk(job_id, seq, piece, stream="stdout" if seq % 3 else "stderr")
            for seq, piece in enumerate(pieces, 1)
        ],
    )
    return job_id


def _bytes(chunks: list[LogChunk]) -> bytes:
    return b"".join(chunk.bytes for chunk in chunks)


async def test_only_the_attempt_that_holds_the_job_adds_to_its_log(connection: Connection) -> None:
    """Others are refused whole; a neighbour in the same call is not."""
    journal = Journal(connection)
    held, released, queued = [await journal.submit() for _ in range(3)]
    await journal.claim(held)
    attempt = await journal.claim(released)
    await journal.tell(released, FinishAttempt(attempt, Released("stops"), now(), 0))
    unknown = new_id()
    refused = await log_chunks.append_chunks(
        connection,
        [
            _chunk(held, 1, b"a"),
            _chunk(held, 2, b"b", stream="stderr"),
            _chunk(held, 1, b"stale", attempt=2),
            _chunk(released, 1, b"late"),
            _chunk(queued, 1, b"early"),
            _chunk(unknown, 1, b"who"),
        ],
    )
    assert refused == {(held, 2), (released, 1), (queued, 1), (unknown, 1)}
    assert await log_chunks.read(connection, Part(held)) == [
        _chunk(held, 1, b"a"),
        _chunk(held, 2, b"b", stream="stderr"),
    ]
    assert await log_chunks.sizes(connection, Part(released)) == {}


async def test_a_chunk_sent_again_is_kept_once(connection: Connection) -> None:
    """The first one stays."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.claim(job_id)
    for data in (b"first", b"again"):
        assert await log_chunks.append_chunks(connection, [_chunk(job_id, 1, data)]) == set()
    assert _bytes(await log_chunks.read(connection, Part(job_id))) == b"first"
    assert await log_chunks.append_chunks(connection, []) == set()


async def test_a_log_is_read_on_from_where_one_was(connection: Connection) -> None:
    """About as many bytes as asked for, at least one chunk, to the end of all attempts."""
    job_id = await _written(connection, b"aaa", b"bbb", b"ccc")
    await connection.execute(_WRITE, *_chunk(job_id, 1, b"ddd", attempt=2))
    after, seen = (0, 0), []
    while found := await log_chunks.read(connection, Part(job_id), after, limit_bytes=4):
        seen.append(_bytes(found))
        after = (found[-1].attempt, found[-1].seq)
    assert seen == [b"aaabbb", b"cccddd"]
    assert _bytes(await log_chunks.read(connection, Part(job_id, 2))) == b"ddd"
    assert _bytes(await log_chunks.read(connection, Part(job_id, 1, "stderr"))) == b"ccc"
    assert await log_chunks.sizes(connection, Part(job_id)) == {1: 9, 2: 3}
    assert await log_chunks.sizes(connection, Part(job_id, 1, "stdout")) == {1: 6}
