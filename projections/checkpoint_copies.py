"""Signed checkpoints in the object store: copies that whoever rewrites the database can't rewrite.

`audit/checkpoints/<tree size>`, the newest one every ten seconds at most: it stands for all
before it. A copy is never replaced: another one under its name is a log that was rewritten, and
said so. It knows no database.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.objects import ObjectMissing, ObjectStore, ObjectStoreError

PREFIX: Final = "audit/checkpoints"

_REST_SECONDS: Final = 10.0
_LAST_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class CheckpointCopies:
    """Puts the newest checkpoint that was offered; an async context manager that owns a task."""

    def __init__(self, objects: ObjectStore, rest_seconds: float = _REST_SECONDS) -> None:
        self._objects = objects
        self._rest_seconds = rest_seconds
        self._newest: tuple[int, str] | None = None
        self._is_offered = asyncio.Event()
        self._background = Background({"copies of checkpoints": self._run})

    def offer(self, tree_size: int, note: str) -> None:
        """Have this one put, unless a newer one comes first. Never waits."""
        self._newest = tree_size, note
        self._is_offered.set()

    async def __aenter__(self) -> Self:
        """Start."""
        if self._objects.is_lasting:
            self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what is still to be put gets two seconds."""
        await self._background.stop()
        if self._objects.is_lasting and self._is_offered.is_set():
            try:
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._put_newest()
            except TimeoutError:
                _log.warning("checkpoint_not_copied", detail="no time left")

    async def _run(self) -> None:
        while True:
            await self._is_offered.wait()
            await self._put_newest()
            await asyncio.sleep(self._rest_seconds)

    async def _put_newest(self) -> None:
        """Put it; when that fails it stays offered."""
        assert self._newest is not None  # noqa: S101  somebody offered it
        tree_size, note = offered = self._newest
        try:
            await copy(self._objects, tree_size, note)
        except ObjectStoreError as error:
            _log.warning("checkpoint_not_copied", tree_size=tree_size, detail=error.detail)
        except Forked as error:
            _log.error("checkpoint_forked", tree_size=tree_size, detail=str(error))
            self._is_offered.clear()
        else:
            if self._newest == offered:
                self._is_offered.clear()


class Forked(Exception):  # noqa: N818  named by what is so, like the rejections
    """The store has another checkpoint of this size: one of the two logs was rewritten."""


async def copy(objects: ObjectStore, tree_size: int, note: str) -> None:
    """Put a checkpoint; once more changes nothing. Raises ObjectStoreError and Forked."""
    key = f"{PREFIX}/{tree_size}"
    try:
        found = await objects.read(key)
    except ObjectMissing:
        await objects.put(key, _one(note.encode()))
        return
    if found != note.encode():
        msg = f"the object {key} of {objects.url} is another checkpoint"
        raise Forked(msg)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
