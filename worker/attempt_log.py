"""What one attempt prints, on its way to the coordinator: masked, numbered, with its times.

While a piece is on its way the command's further output waits in its pipe, and goes
together then: nothing piles up here, and the first byte goes at once.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, get_args

from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.worker.coordinator import AttemptKey, Chunk, Coordinator, CoordinatorUnavailable
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.log_cap import LogCap
from reactorcide.worker.masking import Masker
from reactorcide.worker.runner import Stream
from reactorcide.worker.secrets import Secrets

UNSENT_BYTES: Final = 1024 * 1024
"""So much is set aside of what a command printed while nobody could be reached."""

_PAUSE_SECONDS: Final = 0.2
_CUT: Final = b"\n[the rest of this log was lost: nobody could be reached]\n"


class AttemptLog:
    """The Output of one attempt. Once the lease is lost it sends nothing any more."""

    def __init__(
        self,
        coordinator: Coordinator,
        key: AttemptKey,
        secrets: Secrets,
        halt: Halt,
        cap: LogCap,
    ) -> None:
        self._coordinator = coordinator
        self._key = key
        self._halt = halt
        self._secrets = secrets
        self._maskers: dict[Stream, Masker] = {
            stream: secrets.masker() for stream in get_args(Stream)
        }
        self._cap = cap
        self._turn = asyncio.Lock()
        self._seq = 0
        self.bytes = 0
        """How much it has taken."""
        self.unsent: list[Chunk] = []
        """What could not be sent before the lease was lost; nothing of it was refused."""
        self._unsent_bytes = 0
        self._is_refused = False

    async def write(self, stream: Stream, data: bytes) -> None:
        """Send on what may be shown of it; once enough is kept, the rest is only swallowed."""
        self.bytes += len(data)
        if self._cap.is_full:
            return
        async with self._turn:
            await self._keep(stream, self._maskers[stream].feed(data))

    async def finish(self) -> None:
        """Send on what was held back, now that nothing follows."""
        if not self.bytes:
            return
        async with self._turn:
            for stream, masker in self._maskers.items():
                await self._keep(stream, masker.finish())

    async def report(self, lines: Sequence[str]) -> None:
        """Add lines of the worker's own to stderr, however long the log is. After `finish`."""
        if lines:
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
            async with self._turn:
                await self._send("stderr", self._secrets.hide_bytes(data))

    def hides(self, text: str) -> bool:
        """Whether a text holds a secret value."""
        data = text.encode("utf-8", "surrogateescape")
        return self._secrets.hide_bytes(data) != data

    async def _keep(self, stream: Stream, data: bytes) -> None:
        """Send what is within the cap, and the mark where the rest would begin."""
        kept, mark = self._cap.cut(data)
        await self._send(stream, kept)
        await self._send("stderr", mark)

    async def _send(self, stream: Stream, data: bytes) -> None:
        """Send until it is taken, or the lease is lost."""
        if not data:
            return
        self._seq += 1
        chunk = Chunk(self._seq, stream, datetime.now(UTC), data)
        while self._halt.reason is not HaltReason.LOST:
            try:
                await self._coordinator.log(self._key, [chunk])
            except NotLeaseHolder:
                self._is_refused = True
                self._halt.ask(HaltReason.LOST, 0)
            except CoordinatorUnavailable:
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  jitter
            else:
                return
        if not self._is_refused:
            self._set_aside(chunk)

    def _set_aside(self, chunk: Chunk) -> None:
        """Keep a chunk, as long as there is room; say so where there is none."""
        if self._unsent_bytes > UNSENT_BYTES:
            return
        self._unsent_bytes += len(chunk.data)
        if self._unsent_bytes > UNSENT_BYTES:
            chunk = chunk._replace(stream="stderr", data=_CUT)
        self.unsent.append(chunk)
