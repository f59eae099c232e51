"""An outcome that nobody hears outlives its worker, and counts as long as the attempt is held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import (
    Completed,
    Status,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    eventually,
    settings_for,
    working,
)
from reactorcide.worker.coordinator import (
    AttemptKey,
    Chunk,
    ClaimedAttempt,
    Report,
)
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.spool import Spool, Spooled

MOVE_BACK: Final = "UPDATE jobs SET lease_until = now() - interval '1 minute'"

CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid()"""


@asynccontextmanager
async def claimed_by(
    desk: Desk, database: Database, tmp_path: Path, **fields: Any
) -> AsyncIterator[tuple[DirectCoordinator, ClaimedAttempt]]:
    """Lend a worker's coordinator, and an attempt that it holds and has started."""
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as coordinator:
        await desk.submit(**fields)
        (claimed,) = (await coordinator.claim(1)).attempts
        await coordinator.start(claimed.key)
        yield coordinator, claimed


async def test_the_next_worker_speaks_for_the_one_before(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The outcome counts, the end of the log is there, and the command does not run again."""
    async with claimed_by(desk, database, tmp_path) as (former, claimed):
        pass
    log = (Chunk(1, "stdout", datetime.now(UTC), b"the end\n"),)
    entry = Spooled(former.worker_id, Report(claimed.key, Completed()), log)
    await Spool(tmp_path / "spool").keep([entry])
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(claimed.key.job_id)
    assert (job.state.status, job.state.attempt) == (Status.COMPLETED, 1)
    assert job.state.worker_id == former.worker_id
    assert await desk.log(claimed.key.job_id) == b"the end\n"
    assert Spool(tmp_path / "spool").kept() == []


async def test_an_outcome_of_a_lost_attempt_is_refused_and_forgotten(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Neither it nor its log counts; the next attempt decides."""
    async with claimed_by(desk, database, tmp_path, job_command="exit 3") as (former, claimed):
        pass
    await desk.pool.execute(MOVE_BACK)
    assert (await upkeep(desk.pool, desk.write)).expired == 1
    log = (Chunk(1, "stdout", datetime.now(UTC), b"late"),)
    spool = Spool(tmp_path / "spool")
    await spool.keep([Spooled(former.worker_id, Report(claimed.key, Completed()), log)])
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(claimed.key.job_id)
        await eventually(lambda: _is_empty(spool))
    assert (job.state.status, job.state.attempt) == (Status.FAILED, 2)
    assert b"late" not in await desk.log(claimed.key.job_id)


async def test_nobody_speaks_for_a_worker_that_did_not_hold_the_attempt(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """The number of the attempt alone does not do."""
    async with claimed_by(desk, database, tmp_path) as (holder, claimed):
        report = Report(claimed.key, Completed())
        with pytest.raises(NotLeaseHolder):
            await holder.finish_late(new_id(), report)
        await holder.finish_late(holder.worker_id, report)
        with pytest.raises(NotLeaseHolder):
            await holder.finish_late(holder.worker_id, report)


async def _is_empty(spool: Spool) -> bool:
    return not spool.kept()


@asynccontextmanager
async def away(uri: str) -> AsyncIterator[None]:
    """Let the database be away during the block."""
    elsewhere = await asyncpg.connect(uri, database="postgres")
    name = uri.partition("?")[0].rpartition("/")[2]
    try:
        # Somebody may connect again in between, and for that one it would wait five seconds.
        await elsewhere.execute("SET statement_timeout = '200ms'")
        while True:
            await elsewhere.fetch(CUT, name)
            with suppress(asyncpg.ObjectInUseError, asyncpg.QueryCanceledError):
                await elsewhere.execute(f'ALTER DATABASE "{name}" RENAME TO "away_{name}"')
                break
        await elsewhere.execute("RESET statement_timeout")
        try:
            yield
        finally:
            await elsewhere.execute(f'ALTER DATABASE "away_{name}" RENAME TO "{name}"')
    finally:
        await elsewhere.close()


async def test_an_outcome_outlives_an_outage_and_its_worker(
    database: Database, database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """The command ends while the database is away; then its worker is torn down."""
    go, spool = tmp_path / "go", Spool(tmp_path / "spool")
    async with working(database, settings_for(tmp_path)) as at_work:
        job_id = await desk.submit(f"while [ ! -f {go} ]; do sleep 0.02; done")
        await desk.becomes(job_id, Status.RUNNING)
        async with away(database_uri):
            go.touch()
            await eventually(lambda: _is_kept(spool, AttemptKey(job_id, 1)))
            at_work.task.cancel()
            await asyncio.wait([at_work.task])
    async with working(database, settings_for(tmp_path)):
        job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt) == (Status.COMPLETED, 1)
    assert spool.kept() == []


async def _is_kept(spool: Spool, key: AttemptKey) -> bool:
    return key in spool.kept()


async def test_a_short_outage_is_bridged_by_the_worker_itself(
    database: Database, database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """Its outcome is reported once; the spool is empty again."""
    go, spool = tmp_path / "go", Spool(tmp_path / "spool")
    async with working(database, settings_for(tmp_path)):
        job_id = await desk.submit(f"while [ ! -f {go} ]; do sleep 0.02; done")
        await desk.becomes(job_id, Status.RUNNING)
        async with away(database_uri):
            go.touch()
            await eventually(lambda: _is_kept(spool, AttemptKey(job_id, 1)))
        job = await desk.ends(job_id)
        await eventually(lambda: _is_empty(spool))
    assert (job.state.status, job.state.attempt) == (Status.COMPLETED, 1)


async def test_output_that_could_not_be_sent_comes_with_the_outcome(
    database: Database, database_uri: str, desk: Desk, tmp_path: Path
) -> None:
    """Away for longer than the lease: what was printed meanwhile is in the log, in order."""
    go, spool = tmp_path / "go", Spool(tmp_path / "spool")
    async with working(database, settings_for(tmp_path, lease_seconds=6)):
        job_id = await desk.submit(
            f"echo first; while [ ! -f {go} ]; do sleep 0.02; done; echo second; echo third >&2"
        )
        await desk.prints(job_id, b"first")
        async with away(database_uri):
            go.touch()
            await eventually(lambda: _is_kept(spool, AttemptKey(job_id, 1)))
        job = await desk.ends(job_id)
    assert (job.state.status, job.state.attempt) == (Status.COMPLETED, 1)
    assert sorted((await desk.log(job_id)).split()) == [b"first", b"second", b"third"]
