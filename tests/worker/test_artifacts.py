"""What a command leaves in its artifacts directory is kept before its outcome is told."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import FinishAttempt, Released, Status
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.projections import artifacts, shared_store
from reactorcide.projections.object_upkeep import sweep
from reactorcide.tests.conftest import STORES, Connection
from reactorcide.tests.projections.journal import Journal, now
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    eventually,
    settings_for,
    working,
)
from reactorcide.worker.artifact_files import Look, Unkept, open_file, opened_directory
from reactorcide.worker.artifact_records import ArtifactRecords
from reactorcide.worker.artifacts import Keeper, Stopped, unless_halted
from reactorcide.worker.coordinator import Artifact, AttemptKey, Kept
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.settings import ArtifactLimits, WorkerSettings

CD = 'cd "$REACTORCIDE_ARTIFACTS_DIR"; '


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> WorkerSettings:
    """A worker that keeps artifacts in the test's store."""
    return settings_for(tmp_path, object_store_url=store_url)


def small(settings: WorkerSettings, **limits: int) -> WorkerSettings:
    """Return settings with smaller limits."""
    changed: dict[str, Any] = {"artifact_limits": ArtifactLimits(**limits)}
    return WorkerSettings(
        settings.name,
        settings.workspace_root,
        grace_seconds=1.0,
        object_store_url=settings.object_store_url,
        **changed,
    )


async def left_by(desk: Desk, job_id: UUID, attempt: int | None = None) -> dict[str, int]:
    """Return the paths and sizes that a job has left."""
    found = await artifacts.list_of(desk.pool, job_id, attempt)
    return {artifact.path: artifact.size for artifact in found}


@pytest.mark.parametrize("store_url", ["directory", "s3"], indirect=True)
async def test_a_completed_job_has_its_artifacts(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """As soon as it is completed: names, sizes, digests, contents; small ones and large ones."""
    async with working(database, settings):
        job_id = await desk.submit(
            CD + "mkdir -p a/b; printf one > a/b/ein\\ s.txt; : > empty; "
            "head -c 12000000 /dev/urandom > large; umask 777; echo hidden > 'ünï☃'"
        )
        job = await desk.ends(job_id)
        assert job.state.status is Status.COMPLETED, job.state.last_error
    found = await artifacts.list_of(desk.pool, job_id, None)
    names = {"a/b/ein s.txt": 3, "empty": 0, "large": 12_000_000}
    if os.geteuid() == 0:  # who may read everything
        names["ünï☃"] = 7
    assert {one.path: one.size for one in found} == names
    for one in found:
        content = await objects.read(one.object_key)
        assert len(content) == one.size
        assert hashlib.sha256(content).digest() == one.sha256
    assert await desk.pool.fetchval("SELECT count(*) FROM unfinished_objects") == 0


async def test_a_failed_attempt_has_artifacts_too(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """Each attempt its own; the latest that left any is shown."""
    async with working(database, settings):
        job_id = await desk.submit(
            CD + 'test "$REACTORCIDE_ATTEMPT" = 3 || touch "of-$REACTORCIDE_ATTEMPT"; exit 1',
            max_attempts=3,
            retry_backoff_seconds=0,
        )
        await desk.ends(job_id)
    assert await left_by(desk, job_id, 1) == {"of-1": 0}
    assert await left_by(desk, job_id) == {"of-2": 0}
    assert await left_by(desk, job_id, 3) == {}


async def test_an_empty_directory_costs_nothing(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """No row, no object, and the store is not even opened; nor when the directory is gone."""
    async with working(database, settings):
        for command in ("true", 'rmdir "$REACTORCIDE_ARTIFACTS_DIR"'):
            job = await desk.ends(await desk.submit(command))
            assert job.state.status is Status.COMPLETED
            assert await desk.log(job.job_id) == b""
    assert await objects.keys("jobs") == []
    assert await desk.pool.fetchval("SELECT count(*) FROM unfinished_objects") == 0


REFUSED = {
    "ln -s /etc/passwd link": "'link' is a symbolic link",
    "ln -s /etc below": "'below' is a symbolic link",
    "mkfifo pipe": "'pipe' is a pipe",
    "printf x > \"$(printf 'a\\001b')\"": r"'a\x01b' has control characters in its name",
    "printf x > \"$(printf 'a\\nb')\"": r"'a\nb' has control characters in its name",
    "printf x > \"$(printf 'a\\377b')\"": r"'a\udcffb' is not UTF-8",
    "head -c 2000 /dev/zero > large": "'large' has 2000 bytes, more than 1000",
    'printf x > "hunter2.txt"': "'***.txt' has a secret value in its name",
    "mkdir -p $(yes d | head -70 | tr '\\n' /)": "is more than 64 directories deep",
    "mkdir dir; ln -s / dir/root": "'dir/root' is a symbolic link",
}


@pytest.mark.parametrize(("command", "words"), REFUSED.items(), ids=lambda text: text[:20])
async def test_what_may_not_be_kept_is_told_in_the_log(
    database: Database, desk: Desk, settings: WorkerSettings, command: str, words: str
) -> None:
    """On stderr, one line; the job completes, and what may be kept is."""
    async with working(database, small(settings, file_bytes=1000)):
        job_id = await desk.submit(
            f"{CD} printf ok > fine; {command}",
            sealed_env_vars={"PASSWORD": SEALER.seal("hunter2", "PASSWORD")},
        )
        job = await desk.ends(job_id)
        assert job.state.status is Status.COMPLETED, job.state.last_error
    assert words in (await desk.log(job_id)).decode()
    assert (await desk.log(job_id)).count(b"\n") == 1
    assert await left_by(desk, job_id) == {"fine": 2}
    streams = await desk.pool.fetch("SELECT stream FROM log_chunks WHERE job_id = $1", job_id)
    assert {row["stream"] for row in streams} == {"stderr"}


async def test_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    """What a shell can't make everywhere."""
    os.mknod(tmp_path / "socket", 0o600 | 0o140000)
    kinds = {"'socket' is a socket"}
    if os.geteuid() == 0:
        os.mknod(tmp_path / "device", 0o600 | 0o020000, os.makedev(1, 3))
        kinds.add("'device' is a device")
    with opened_directory(tmp_path) as directory:
        assert directory is not None
        look = Look(ArtifactLimits(), Kept(0, 0), lambda _: False)
        look.through(directory)
    assert look.files == []
    assert {line.removeprefix("artifact refused: ") for line in look.refusals.lines()} == kinds


async def test_a_directory_that_is_a_link_is_not_followed(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """The artifacts directory itself, put elsewhere by the command."""
    async with working(database, settings):
        job_id = await desk.submit(
            'rmdir "$REACTORCIDE_ARTIFACTS_DIR"; ln -s /etc "$REACTORCIDE_ARTIFACTS_DIR"'
        )
        assert (await desk.ends(job_id)).state.status is Status.COMPLETED
    assert await left_by(desk, job_id) == {}
    assert b"artifacts refused: the directory cannot be read" in await desk.log(job_id)


def test_nothing_outside_is_read_when_a_name_changes(tmp_path: Path) -> None:
    """A directory or file that became a link between look and read is refused then."""
    inside = tmp_path / "inside"
    (inside / "d").mkdir(parents=True)
    for path in (inside / "d" / "file", inside / "file"):
        path.write_text("harmless")
    with opened_directory(inside) as directory:
        assert directory is not None
        (inside / "d" / "file").unlink()
        (inside / "d").rmdir()
        (inside / "d").symlink_to("/etc")
        (inside / "file").unlink()
        (inside / "file").symlink_to("/etc/passwd")
        for parts in (("d", "passwd"), ("file",), ("..", "inside", "file")):
            with pytest.raises(Unkept, match="cannot be read"):
                open_file(directory, parts)
        (inside / "file").unlink()
        os.mkfifo(inside / "file")
        with pytest.raises(Unkept, match="not a file any more"):
            open_file(directory, ("file",))


async def test_limits_hold_over_all_attempts_of_a_job(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """Files and bytes; what is over is named, and what is far over is counted."""
    async with working(database, small(settings, files=5, job_bytes=100)):
        job_id = await desk.submit(
            CD + "for n in 1 2 3; do printf 1234567890 > f$n; done; exit 1",
            max_attempts=2,
            retry_backoff_seconds=0,
        )
        await desk.ends(job_id)
        assert await left_by(desk, job_id, 1) == {"f1": 10, "f2": 10, "f3": 10}
        assert await left_by(desk, job_id, 2) == {"f1": 10, "f2": 10}
        assert "'f3' is beyond the 5 files of a job" in (await desk.log(job_id, 2)).decode()
        job_id = await desk.submit(CD + "head -c 90 /dev/zero > a; head -c 11 /dev/zero > b")
        await desk.ends(job_id)
        assert await left_by(desk, job_id) == {"a": 90}
        assert b"'b' is beyond the 100 bytes of a job" in await desk.log(job_id)
        job_id = await desk.submit(CD + "for n in $(seq 10 55); do : > $n; done")
        await desk.ends(job_id)
        lines = (await desk.log(job_id)).decode().splitlines()
        assert len(lines) == 21
        assert lines[-1] == "artifact refused: 21 more"


async def test_a_store_that_fails_fails_the_attempt(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """A command that said it succeeded but whose artifacts are lost did not; the worker lives on.

    Found at once here: the store is not even the one that the API reads.
    """
    await shared_store.announce(desk.pool, UUID(int=1))
    async with working(database, settings):
        job = await desk.ends(await desk.submit(CD + "touch a"))
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, None)
        assert "REACTORCIDE_OBJECT_STORE_URL" in (job.state.last_error or "")
        job = await desk.ends(await desk.submit(CD + "touch a; exit 3"))
        assert job.state.exit_code == 3
        assert (job.state.last_error or "").startswith("exit code 3; its artifacts could not be")
        assert (await desk.ends(await desk.submit())).state.status is Status.COMPLETED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a file in it."""
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    return folder


async def _asked(ask: Any) -> Any:
    return await ask()


def keeper(records: ArtifactRecords, key: AttemptKey, objects: ObjectStore) -> Keeper:
    """Return what keeps the artifacts of an attempt."""
    return Keeper(key, records, _asked, objects, ArtifactLimits(), lambda _: False)


async def claimed(connection: Connection) -> AttemptKey:
    """Return an attempt that holds its job."""
    journal = Journal(connection)
    job_id = await journal.submit()
    return AttemptKey(job_id, await journal.claim(job_id))


@pytest.mark.parametrize("store_url", STORES, indirect=True)
async def test_an_upload_tries_again(
    connection: Connection, desk: Desk, objects: ObjectStore, root: Path
) -> None:
    """Kept whole, wherever it is kept, and only once."""
    key = await claimed(connection)
    records = ArtifactRecords(desk.pool, objects)
    with opened_directory(root) as directory:
        assert directory is not None
        for _ in range(2):
            assert await keeper(records, key, objects).keep(directory) == []
    assert await left_by(desk, key.job_id) == {"file": 7}


async def test_a_stale_attempt_adds_nothing(
    connection: Connection, desk: Desk, objects: ObjectStore, root: Path
) -> None:
    """Neither when it begins nor at the end; what it put on the way is removed."""
    records = ArtifactRecords(desk.pool, objects)
    late, later = await claimed(connection), await claimed(connection)
    journal = Journal(connection)
    await journal.tell(late.job_id, FinishAttempt(1, Released("stops"), now(), 0))
    with opened_directory(root) as directory:
        assert directory is not None
        for stale in (late, AttemptKey(later.job_id, 2)):
            with pytest.raises(NotLeaseHolder):
                await keeper(records, stale, objects).keep(directory)
    assert await objects.keys("jobs") == []

    await records.begin(later)
    await objects.put(f"{artifacts.prefix_of(*later)}/1", _some())
    await journal.tell(later.job_id, FinishAttempt(1, Released("stops"), now(), 0))
    with pytest.raises(NotLeaseHolder):
        await records.add(later, [Artifact("file", 7, bytes(32), "key")])
    assert await left_by(desk, later.job_id) == {}
    assert await sweep(connection, objects) == 0  # it may still be at it
    assert await sweep(connection, objects, left_seconds=0) == 1
    assert await objects.keys("jobs") == []


async def _some() -> Any:
    yield b"content"


async def test_a_running_upload_is_not_swept(
    connection: Connection, desk: Desk, objects: ObjectStore
) -> None:
    """However long it takes, as long as the attempt holds its job."""
    key = await claimed(connection)
    await ArtifactRecords(desk.pool, objects).begin(key)
    await objects.put(f"{artifacts.prefix_of(*key)}/1", _some())
    assert await sweep(connection, objects, left_seconds=0) == 0
    assert await objects.keys("jobs") != []


async def test_a_full_or_broken_store_is_told_after_some_tries(
    connection: Connection, desk: Desk, root: Path
) -> None:
    """Nothing is recorded then."""
    key = await claimed(connection)
    working_one = ObjectStore("memory://")
    broken = ObjectStore("file:///dev/null/objects")
    keeping = keeper(ArtifactRecords(desk.pool, working_one), key, broken)
    with opened_directory(root) as directory:
        assert directory is not None
        with pytest.raises(StoreUnavailable):
            await keeping.keep(directory)
    assert await left_by(desk, key.job_id) == {}


async def test_work_ends_at_a_new_reason_to_halt() -> None:
    """Not at the one that was there before, and not after its time either."""
    halt = Halt()
    halt.ask(HaltReason.TIMEOUT, 10)
    working_on = asyncio.create_task(unless_halted(asyncio.Event().wait(), halt, 30))
    await asyncio.sleep(0)
    halt.ask(HaltReason.TIMEOUT, 0)
    await asyncio.sleep(0)
    assert not working_on.done()
    halt.ask(HaltReason.CANCEL, 0)
    with pytest.raises(Stopped):
        await working_on
    with pytest.raises(TimeoutError):
        await unless_halted(asyncio.Event().wait(), halt, 0.01)


async def test_a_timed_out_command_leaves_what_it_had(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """And so does one that was cancelled."""
    async with working(database, settings):
        timed_out = await desk.submit(CD + "printf 1 > a; exec sleep 60", timeout_seconds=1)
        assert (await desk.ends(timed_out)).state.status is Status.TIMEOUT
        cancelled = await desk.submit(CD + "printf 1 > a; echo ready; exec sleep 60")
        await desk.prints(cancelled, b"ready")
        await desk.cancel(cancelled)
        assert (await desk.ends(cancelled)).state.status is Status.CANCELLED
    for job_id in (timed_out, cancelled):
        assert await left_by(desk, job_id) == {"a": 1}


async def test_ended_logs_go_into_the_store_by_themselves(
    database: Database, desk: Desk, settings: WorkerSettings, objects: ObjectStore
) -> None:
    """By the worker, soon after; a small one a minute later. The outcome did not wait for it."""
    await shared_store.announce(desk.pool, await objects.identity())
    async with working(database, settings):
        job_ids = [await desk.submit(command) for command in ("seq 10000", "echo small")]
        for job_id in job_ids:
            await desk.ends(job_id)
        await desk.pool.execute("UPDATE log_chunks SET printed_at = printed_at - interval '1 min'")

        async def are_stored() -> bool:
            stored = await desk.pool.fetch("SELECT FROM log_objects")
            return len(stored) == len(job_ids)

        await eventually(are_stored)
        for job_id in job_ids:
            assert await desk.log(job_id) == b""
            assert len(await objects.keys(f"jobs/{job_id}")) == 1
