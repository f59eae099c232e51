"""An upload is recorded whole while its attempt is held, or leaves nothing behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.domain.job import FinishAttempt, Released
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.projections import artifacts
from reactorcide.projections.object_upkeep import sweep
from reactorcide.tests.conftest import STORES, Connection
from reactorcide.tests.projections.journal import Journal, now
from reactorcide.tests.worker.artifacts_at_work import left_by
from reactorcide.tests.worker.jobs_at_work import (
    Desk,
)
from reactorcide.worker.artifact_files import opened_directory
from reactorcide.worker.artifact_records import ArtifactRecords
from reactorcide.worker.artifacts import Keeper, Stopped, unless_halted
from reactorcide.worker.coordinator import Artifact, AttemptKey
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.settings import ArtifactLimits


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
