"""Copies of the signed checkpoints in the object store: there soon, and never replaced."""

from pathlib import Path

import pytest
import structlog

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import checkpoint_copies, sealed_log
from reactorcide.projections.checkpoint_copies import CheckpointCopies, Forked
from reactorcide.projections.sealer import LogSealer
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.test_sealer import FILL, KEY, holding, sealed_by


async def test_the_newest_checkpoint_is_copied(
    database: Database, connection: Connection, objects: ObjectStore
) -> None:
    """While the sealer runs and when it ends; byte for byte what was signed."""
    async with CheckpointCopies(objects, 0) as copies, holding(database) as session:
        one = LogSealer(KEY, copies.offer)
        for _ in range(2):
            await connection.execute(FILL, 3)
            await sealed_by(session, one)

        async def is_copied() -> bool:
            return "audit/checkpoints/6" in await objects.keys("audit/checkpoints")

        await until(is_copied, 30)
        await connection.execute(FILL, 1)
        await sealed_by(session, one)
    (last,) = await sealed_log.newest(connection)
    assert await objects.read(f"audit/checkpoints/{last.tree_size}") == last.note.encode()


async def test_a_copy_is_never_replaced(objects: ObjectStore) -> None:
    """Another checkpoint of the same size is told, loudly, and the first one stays."""
    await checkpoint_copies.copy(objects, 7, "first")
    await checkpoint_copies.copy(objects, 7, "first")
    with pytest.raises(Forked):
        await checkpoint_copies.copy(objects, 7, "second")
    with structlog.testing.capture_logs() as lines:
        async with CheckpointCopies(objects) as copies:
            copies.offer(7, "second")
    assert [line["event"] for line in lines] == ["checkpoint_forked"]
    assert await objects.read("audit/checkpoints/7") == b"first"


async def test_a_store_that_is_away_is_tried_again(tmp_path: Path) -> None:
    """Sealing goes on meanwhile, and the newest is put once the store is there."""
    (tmp_path / "objects").write_text("in the way")
    objects = ObjectStore((tmp_path / "objects" / "below").as_uri())
    async with CheckpointCopies(objects, 0.02) as copies:
        copies.offer(3, "note")
        with structlog.testing.capture_logs() as lines:

            async def is_told() -> bool:
                return any(line["event"] == "checkpoint_not_copied" for line in lines)

            await until(is_told, 30)
        (tmp_path / "objects").unlink()

        async def is_copied() -> bool:
            return bool(await objects.keys("audit/checkpoints"))

        await until(is_copied, 30)
