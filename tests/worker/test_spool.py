"""An outcome that nobody hears outlives its worker, and counts as long as the attempt is held."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import (
    Cancelled,
    Completed,
    Failed,
    Released,
    Status,
    TimedOut,
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
from reactorcide.worker import spool as spool_module
from reactorcide.worker.coordinator import (
    AttemptKey,
    Chunk,
    ClaimedAttempt,
    CoordinatorUnavailable,
    Report,
)
from reactorcide.worker.direct import DirectCoordinator, open_coordinator
from reactorcide.worker.spool import Spool, Spooled
from reactorcide.worker.spool_sender import SpoolSender

MOVE_BACK: Final = "UPDATE jobs SET lease_until = now() - interval '1 minute'"
CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid()"""

texts = st.text(st.characters(codec="utf-8"), max_size=20)
codes = st.none() | st.integers(0, 255)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
outcomes = st.one_of(
    st.builds(Completed, values, codes),
    st.builds(Failed, codes, texts),
    st.builds(TimedOut, codes, texts),
    st.builds(Cancelled, codes),
    st.builds(Released, texts),
)
chunks = st.builds(
    Chunk,
    st.integers(1, 2**31 - 1),
    st.sampled_from(["stdout", "stderr"]),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=40),
)


def entry_of(key: AttemptKey, worker_id: object = None) -> Spooled:
    """Return a completion to be kept."""
    return Spooled(worker_id or new_id(), Report(key, Completed()))  # type: ignore[arg-type]


@given(report=outcomes, log=st.lists(chunks, max_size=3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_kept_is_read_again(tmp_path: Path, report: object, log: list[Chunk]) -> None:
    """Whatever the outcome is and says, and the end of its log with it."""
    spool = Spool(tmp_path / "spool")
    key = AttemptKey(new_id(), 3)
    entry = Spooled(new_id(), Report(key, report), tuple(log))  # type: ignore[arg-type]
    await spool.keep([entry])
    assert key in spool.kept()
    assert spool.read(key) == entry
    spool.forget([key])
    assert key not in spool.kept()
    assert spool.read(key) is None


async def test_files_are_whole_and_for_their_owner_alone(tmp_path: Path) -> None:
    """One for each outcome, no draft is left; kept twice is kept once."""
    spool, entries = Spool(tmp_path / "spool"), [entry_of(AttemptKey(new_id(), 1)) for _ in "abc"]
    await spool.keep(entries)
    await spool.keep(entries)
    found = list((tmp_path / "spool").iterdir())
    assert len(found) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


async def test_there_is_a_bound_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room is left out; the rest is kept."""
    monkeypatch.setattr(spool_module, "MOST_FILES", 2)
    spool = Spool(tmp_path)
    with capture_logs() as logs:
        await spool.keep([entry_of(AttemptKey(new_id(), 1)) for _ in "abc"])
    assert len(spool.kept()) == 2
    assert [(line["event"], line["attempts"]) for line in logs] == [("outcomes_not_kept", 1)]


async def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """It is told in the log."""
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / "spool")
    with capture_logs() as logs:
        await spool.keep([entry_of(AttemptKey(new_id(), 1))])
    assert [line["event"] for line in logs] == ["spool_failed", "outcomes_not_kept"]
    assert spool.kept() == []


async def test_an_unreadable_file_is_put_aside(tmp_path: Path) -> None:
    """It is told once, and holds up nobody."""
    key = AttemptKey(new_id(), 1)
    spool = Spool(tmp_path)
    (tmp_path / f"{key.job_id}.1.json").write_text('{"format": 1')
    (tmp_path / "notes.txt").touch()
    assert spool.kept() == [key]
    with capture_logs() as logs:
        assert spool.read(key) is None
    assert [line["event"] for line in logs] == ["spooled_outcome_unreadable"]
    assert spool.kept() == []
    assert (tmp_path / f"{key.job_id}.1.unreadable").exists()


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
        while True:  # somebody may connect again in between
            await elsewhere.fetch(CUT, name)
            with suppress(asyncpg.ObjectInUseError):
                await elsewhere.execute(f'ALTER DATABASE "{name}" RENAME TO "away_{name}"')
                break
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
    async with working(database, settings_for(tmp_path, lease_seconds=2)):
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


class Unreachable:
    """A coordinator that nobody reaches."""

    worker_id = new_id()

    async def finish_late(self, *_: object) -> None:
        """Fail."""
        detail = "away"
        raise CoordinatorUnavailable(detail)


async def test_what_is_not_heard_is_kept_on(tmp_path: Path) -> None:
    """And what the worker still works on is left to it."""
    spool, mine, others = Spool(tmp_path), AttemptKey(new_id(), 1), AttemptKey(new_id(), 1)
    await spool.keep([entry_of(mine)])
    sender = SpoolSender(spool, Unreachable(), {mine}.__contains__)  # type: ignore[arg-type]
    await sender.send()
    await spool.keep([entry_of(others)])
    with pytest.raises(CoordinatorUnavailable):
        await sender.send()
    assert set(spool.kept()) == {mine, others}
