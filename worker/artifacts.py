"""Keeps what an attempt left in its artifacts directory: uploads it, then has it recorded.

It is recorded at once or not at all, and only as long as the attempt holds its job. What may not
be kept is told to the job's log.
"""

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from reactorcide.eventstore.domain.job import Completed, Failed, Outcome, TimedOut
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.worker.artifact_files import FoundFile, Look, Refusals, Unkept, open_file
from reactorcide.worker.coordinator import Artifact, ArtifactDoor, AttemptKey
from reactorcide.worker.halt import Halt
from reactorcide.worker.settings import ArtifactLimits

_READ_BYTES: Final = 1024 * 1024
_AT_ONCE: Final = 4
_PAUSES: Final = (0.2, 0.8, 2.0)

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818  named by what is so, like the rejections
    """The attempt was asked to stop before all was kept."""


class Reach(Protocol):
    """Asks the coordinator until it answers."""

    async def __call__(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer, or raise what it raises."""
        ...


@dataclass(frozen=True, slots=True)
class Keeper:
    """What keeping the artifacts of one attempt takes."""

    key: AttemptKey
    door: ArtifactDoor
    reach: Reach
    objects: ObjectStore
    limits: ArtifactLimits
    hides: Callable[[str], bool]
    """Tells a text that may not be shown."""

    async def keep(self, directory: int) -> list[str]:
        """Keep all that may be; return the lines that tell of the rest.

        Raises NotLeaseHolder, and ObjectStoreError when the store could not be used after some
        tries: nothing is kept then.
        """
        kept = await _tried(lambda: self.reach(lambda: self.door.begin(self.key)))
        look = Look(self.limits, kept, self.hides)
        await asyncio.to_thread(look.through, directory)
        artifacts = await self._put_all(directory, look.files, look.refusals)
        await _tried(lambda: self.objects.sync([one.object_key for one in artifacts]))
        await self.reach(lambda: self.door.add(self.key, artifacts))
        return look.refusals.lines()

    async def _put_all(
        self, directory: int, files: list[FoundFile], refusals: Refusals
    ) -> list[Artifact]:
        """Put files, some at a time; return them by path."""
        done: list[Artifact] = []
        waiting = iter(enumerate(files, 1))

        async def put_some(numbered: Iterator[tuple[int, FoundFile]]) -> None:
            for number, found in numbered:
                try:
                    done.append(await self._put(directory, found, number))
                except Unkept as unkept:
                    refusals.add(found.path, unkept.reason)

        lanes = [asyncio.create_task(put_some(waiting)) for _ in files[:_AT_ONCE]]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        return sorted(done)

    async def _put(self, directory: int, found: FoundFile, number: int) -> Artifact:
        """Put one file. Raises Unkept and StoreUnavailable."""
        key, job_id = self.key, self.key.job_id
        object_key = f"jobs/{job_id}/{key.attempt}/artifacts/{number}"

        async def put() -> Artifact:
            reading = _Reading(directory, found, self.limits.file_bytes)
            await self.objects.put(object_key, reading.pieces())
            return Artifact(found.path, reading.size, reading.digest.digest(), object_key)

        return await _tried(put)


async def _tried(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again, some times, while the store can't be used."""
    for pause in _PAUSES:
        with contextlib.suppress(StoreUnavailable):
            return await ask()
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter
    return await ask()


class _Reading:
    """One file on its way: counted, and its digest made."""

    def __init__(self, directory: int, found: FoundFile, limit: int) -> None:
        self._directory = directory
        self._found = found
        self._limit = limit
        self.size = 0
        self.digest = hashlib.sha256()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the file. Raises Unkept when it can't be read, or has grown too large."""
        descriptor = await asyncio.to_thread(open_file, self._directory, self._found.parts)
        try:
            while piece := await asyncio.to_thread(self._read, descriptor):
                yield piece
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> bytes:
        try:
            piece = os.read(descriptor, _READ_BYTES)
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            raise Unkept(reason) from error
        self.size += len(piece)
        if self.size > self._limit:
            reason = f"has more than {self._limit} bytes"
            raise Unkept(reason)
        self.digest.update(piece)
        return piece


def without_artifacts(outcome: Outcome, reason: str) -> Outcome:
    """Return what an outcome is worth when what the command left is lost."""
    match outcome:
        case Completed():
            return Failed(None, f"the command ended well, but {reason}")
        case Failed() | TimedOut():
            return replace(outcome, error=f"{outcome.error}; {reason}")
        case _:
            return outcome


async def unless_halted(work: Coroutine[Any, Any, T], halt: Halt, seconds: float) -> T:
    """Return what work returns. Raises Stopped at a new reason to halt, TimeoutError after that.

    The work is over when this returns or raises.
    """
    reason, asked = halt.reason, asyncio.Event()

    def hear() -> None:
        if halt.reason is not reason:
            asked.set()

    working = asyncio.create_task(work)
    asking = asyncio.create_task(asked.wait())
    halt.listen(hear)
    try:
        await asyncio.wait({working, asking}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Stopped if asked.is_set() else TimeoutError
    finally:
        halt.ignore(hear)
        asking.cancel()
        working.cancel()
        await asyncio.gather(working, asking, return_exceptions=True)
