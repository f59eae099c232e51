"""A steady load, and what a worker's handlers saw of it. Knows nothing of pressure or of cases."""

import asyncio
import sys
import time
from array import array
from bisect import bisect_left
from pathlib import Path
from typing import Final, NamedTuple

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.harness import percentile

_TICK_SECONDS: Final = 0.02
_CHUNK: Final = 250
_AHEAD: Final = 16
"""Submits under way at a time: who submits more than the database takes waits for it."""
_POLL_SECONDS: Final = 0.1

NS: Final = 1_000_000_000


class Span(NamedTuple):
    """A part of the run, in monotonic ns."""

    begin: int
    end: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.begin) / NS

    def third(self, nth: int) -> "Span":
        """Return one of its thirds, from 0."""
        each = (self.end - self.begin) // 3
        return Span(self.begin + nth * each, self.begin + (nth + 1) * each)


class Hits:
    """When jobs were submitted and their handlers began, read from the file that grows."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb", buffering=0)
        self._rest = b""
        self._sent = array("q")
        self._began = array("q")

    def __len__(self) -> int:
        """Return how many handlers began so far."""
        return len(self._began)

    def read(self) -> None:
        """Take in what was written since."""
        data = self._rest + self._file.read()
        whole = len(data) // 16 * 16
        self._rest = data[whole:]
        pairs = array("q", data[:whole])
        self._sent.extend(pairs[0::2])
        self._began.extend(pairs[1::2])

    def rate(self, span: Span) -> float:
        """Return how many handlers began a second."""
        low, high = self._range(span)
        return (high - low) / span.seconds

    def p99_ms(self, span: Span) -> float:
        """Return what 99 of 100 handlers that began then did not wait longer than."""
        low, high = self._range(span)
        waits = [self._began[nth] - self._sent[nth] for nth in range(low, high)]
        return percentile(waits, 99) / 1e6 if waits else float("inf")

    def _range(self, span: Span) -> tuple[int, int]:
        return bisect_left(self._began, span.begin), bisect_left(self._began, span.end)


class Load:
    """Submits no-op jobs until told to stop."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self.submitted = 0

    async def steadily(self, rate: float, seconds: float) -> float:
        """Submit so many jobs a second, by the clock; return how many a second it came to."""
        began, before = time.monotonic(), self.submitted
        under_way: set[asyncio.Task[None]] = set()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate) - (self.submitted - before)
            while due > 0 and len(under_way) < _AHEAD:
                count = min(due, _CHUNK)
                due -= count
                self.submitted += count
                task = asyncio.create_task(self._submit(count))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(_TICK_SECONDS)
        await asyncio.gather(*under_way)
        return (self.submitted - before) / (time.monotonic() - began)

    async def hold(self, hits: Hits, waiting: int, seconds: float) -> None:
        """Submit as fast as keeps so many jobs waiting."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            hits.read()
            short = waiting - (self.submitted - len(hits))
            chunks = [_CHUNK] * min(short // _CHUNK, _AHEAD)
            self.submitted += sum(chunks)
            await asyncio.gather(*[self._submit(chunk) for chunk in chunks])
            await asyncio.sleep(0 if chunks else _TICK_SECONDS)

    async def drained(self, hits: Hits, seconds: float) -> None:
        """Wait until all that was submitted has begun. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while len(hits) < self.submitted:
                await asyncio.sleep(_POLL_SECONDS)
                hits.read()

    async def _submit(self, count: int) -> None:
        job = {"handler": "noop", "args": {"sent": time.monotonic_ns()}}
        await self._submitter.submit_many([job] * count)


def worker_words() -> tuple[str, ...]:
    """Return the options of a worker whose handlers take such notes."""
    python = Path(sys.executable).parent / "reactorcide"
    handlers = f"{__package__}.pressure_handlers"
    return (str(python), "worker", "--handlers", handlers, "--concurrency", "100")
