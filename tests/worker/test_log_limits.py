"""How much of a log is kept, and that a worker does not grow with what a command prints."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working
from reactorcide.worker.log_cap import LogCap

MARK = b"\nlog truncated: only the first 1000 bytes are kept\n"


def test_a_cap_cuts_at_its_byte_and_marks_once() -> None:
    """Also when a piece ends right there."""
    cap = LogCap(10)
    assert cap.cut(b"12345") == (b"12345", b"")
    assert cap.cut(b"") == (b"", b"")
    assert cap.cut(b"67890") == (b"67890", b"")
    assert not cap.is_full
    kept, mark = cap.cut(b"x")
    assert (kept, b"log truncated" in mark, cap.is_full) == (b"", True, True)
    assert cap.cut(b"more") == (b"", b"")


async def test_a_log_that_is_too_long_is_truncated_and_the_job_goes_on(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The first bytes, one mark, and nothing more; the command is never held up."""
    async with working(database, settings_for(tmp_path, log_bytes=1000)):
        job_id = await desk.submit(
            "head -c 3000000 /dev/zero | tr '\\0' x; echo gone >&2; "
            'ln -s / "$REACTORCIDE_ARTIFACTS_DIR/link"; exit 3'
        )
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, 3)
        told = b"artifact refused: 'link' is a symbolic link\n"
        assert await desk.log(job_id) == b"x" * 1000 + MARK + told
        rows = await desk.pool.fetch(
            "SELECT stream, bytes FROM log_chunks WHERE job_id = $1 ORDER BY seq", job_id
        )
        assert b"".join(row["bytes"] for row in rows if row["stream"] == "stdout") == b"x" * 1000


async def test_each_attempt_has_a_log_of_its_own_to_fill(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The last attempt, which matters most, is not silenced by the first."""
    async with working(database, settings_for(tmp_path, log_bytes=1000)):
        job_id = await desk.submit(
            'head -c 2000 /dev/zero; test "$REACTORCIDE_ATTEMPT" = 2',
            max_attempts=2,
            retry_backoff_seconds=0,
        )
        await desk.ends(job_id)
        for attempt in (1, 2):
            assert await desk.log(job_id, attempt) == bytes(1000) + MARK


LOUD = {
    "one line without an end": "head -c 60000000 /dev/zero",
    "short lines": "yes | head -c 60000000",
    "bytes that are no text": "head -c 60000000 /dev/urandom",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", LOUD.values(), ids=LOUD)
async def test_a_loud_command_does_not_make_its_worker_grow(
    database: Database, desk: Desk, tmp_path: Path, command: str
) -> None:
    """Less than 64 MiB more at any time, whatever it prints and however fast."""
    async with working(database, settings_for(tmp_path, log_bytes=20_000_000)):
        await desk.ends(await desk.submit("seq 100000"))
        before = most = resident_bytes()
        job_id = await desk.submit(command)
        ended = asyncio.create_task(desk.ends(job_id))
        while not ended.done():
            most = max(most, resident_bytes())
            await asyncio.sleep(0.01)
        assert (await ended).state.status is Status.COMPLETED
        assert most - before < 64 * 1024 * 1024


def resident_bytes() -> int:
    """Return how much memory this process, and so its worker, has."""
    if sys.platform != "linux":
        pytest.skip("told by /proc alone")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
