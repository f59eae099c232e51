"""What the tests of logs share: logs as workers write them, and each store that they may go to."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.projections.log_chunks import LogChunk, Part, Stream
from reactorcide.projections.logs import Logs
from reactorcide.tests.conftest import STORES, Connection

AT: Final = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
STREAMS: Final[tuple[Stream | None, ...]] = (None, "stdout", "stderr")

WRITE: Final = "INSERT INTO log_chunks VALUES ($1, $2, $3, $4, $5, $6)"
COUNT: Final = "SELECT count(*) FROM log_chunks"

on_each_store = pytest.mark.parametrize("store_url", STORES, indirect=True)


async def written(connection: Connection, attempts: dict[int, list[bytes]]) -> UUID:
    """Return a job whose attempts, all ended, printed these pieces, stderr every third."""
    job_id = new_id()
    chunks = [
        LogChunk(
            job_id,
            attempt,
            seq,
            "stdout" if seq % 3 else "stderr",
            AT + timedelta(microseconds=seq),
            piece,
        )
        for attempt, pieces in attempts.items()
        for seq, piece in enumerate(pieces, 1)
    ]
    await connection.executemany(WRITE, chunks)
    return job_id


def many(count: int, word: bytes, lines: int = 50) -> list[bytes]:
    """Return pieces that make a log large enough for an object."""
    return [b"%b %d\n" % (word, nth) * lines for nth in range(count)]


async def all_readings(logs: Logs, job_id: UUID, sample: tuple[int, int, int]) -> list[Any]:
    """Return what each way of reading says about each part."""
    lines, start, length = sample
    readings: list[Any] = []
    for attempt in (None, 1, 2, 3):
        for stream in STREAMS:
            part = Part(job_id, attempt, stream)
            size = await logs.size(part)
            readings += [
                size,
                [chunk async for chunk in logs.chunks(part)],
                [chunk async for chunk in logs.chunks(part, (1, 7))],
                await logs.tail(part, lines),
                b"".join([piece async for piece in logs.slices(part, 0, size)]),
                b"".join([piece async for piece in logs.slices(part, start, start + length)]),
            ]
    return readings
