"""What commands print is written, however much comes at once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working
from reactorcide.worker.coordinator import AttemptKey, Chunk

CHUNKS = [Chunk(seq, "stdout", datetime.now(UTC), b"x" * 250_000) for seq in range(1, 31)]


async def test_more_than_one_statement_holds_is_written_whole(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Repeated or not; and an attempt that is not held is refused in whichever it comes."""
    async with working(database, settings_for(tmp_path)) as at_work:
        job_id = await desk.submit("exec sleep 60")
        await desk.becomes(job_id, Status.RUNNING)
        for _ in range(2):
            await at_work.coordinator.log(AttemptKey(job_id, 1), CHUNKS)
        with pytest.raises(NotLeaseHolder):
            await at_work.coordinator.log(AttemptKey(job_id, 2), CHUNKS)
        sql = "SELECT count(*), sum(length(bytes)) FROM log_chunks WHERE job_id = $1"
        assert tuple(await desk.pool.fetchrow(sql, job_id) or ()) == (30, 30 * 250_000)
        await desk.cancel(job_id, 0)
