"""What each measured queue's program does when asked; the queue itself is handed in.

Run by rivals' interpreters too: the standard library alone, nothing of ours. One request as
JSON in the first argument, one answer as JSON on the last line of standard output. A worker
instead prints `ready`, waits for a line, works until its standard input ends, and leaves what
its handlers saw in the file that PEERS_HITS names.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

BATCH: Final = 1000
"""How many jobs one bulk call submits."""
_WARM_UP: Final = 20
_STEADY_CALLERS: Final = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and how much of it. `kind` says which of the others count."""

    kind: str
    uri: str
    callers: int = 1
    seconds: float = 1
    jobs: int = 0
    per_second: int = 0
    gap_seconds: float = 0
    is_stamped: bool = True


class Hits:
    """When each handler began, beside the instant its job was submitted: both monotonic ns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[int, int]] = []

    def hit(self, sent: int) -> None:
        """Take note; the first line of a handler."""
        self._rows.append((sent, time.monotonic_ns()))

    def write(self) -> None:
        """Leave all that was noted in the file."""
        self._path.write_text(json.dumps(self._rows), "utf-8")


class Queue(Protocol):
    """One queue, at its best documented settings."""

    async def install(self, uri: str) -> None:
        """Make its tables in an empty database."""

    async def open(self, uri: str, callers: int) -> None:
        """Connect, to submit from so many callers at once."""

    async def close(self) -> None:
        """Disconnect."""

    async def submit(self, sent: int) -> None:
        """Submit one no-op job that carries `sent`."""

    async def submit_batch(self) -> None:
        """Submit BATCH no-op jobs by the documented bulk call."""

    async def work(self, uri: str, hits: Hits, gate: Callable[[], None]) -> None:
        """Connect, pass the gate (it blocks), then work for ever."""


def main(queue: Queue, run: Callable[..., object] = asyncio.run) -> None:
    """Answer the request in the first argument; `run` is the loop the queue is best on."""
    request = Request(**json.loads(sys.argv[1]))
    run(_answer(queue, request))


async def _answer(queue: Queue, request: Request) -> None:
    match request.kind:
        case "install":
            await queue.install(request.uri)
        case "work":
            hits = Hits(Path(os.environ["PEERS_HITS"]))
            await queue.work(request.uri, hits, lambda: _gate(hits))
        case _:
            await queue.open(request.uri, max(request.callers, _needed(request)))
            started = time.monotonic()
            jobs, started = await _submit(queue, request)
            seconds = time.monotonic() - started
            await queue.close()
            sys.stdout.write(json.dumps({"jobs": jobs, "seconds": seconds}) + "\n")


def _needed(request: Request) -> int:
    return _STEADY_CALLERS if request.kind == "steady" else 1


async def _submit(queue: Queue, request: Request) -> tuple[int, float]:
    """Return how many jobs were submitted, and when counting began."""
    match request.kind:
        case "callers":
            return await _by_callers(queue, request)
        case "batches":
            started = time.monotonic()
            return await _by_batches(queue, request), started
        case "gaps":
            started = time.monotonic()
            for _ in range(request.jobs):
                await queue.submit(time.monotonic_ns() if request.is_stamped else 0)
                await asyncio.sleep(request.gap_seconds)
            return request.jobs, started
        case "steady":
            return await _steadily(queue, request)
        case _:
            raise ValueError(request.kind)


async def _by_callers(queue: Queue, request: Request) -> tuple[int, float]:
    for _ in range(_WARM_UP):
        await asyncio.gather(*[queue.submit(0) for _ in range(request.callers)])
    started = time.monotonic()

    async def caller() -> int:
        count = 0
        while time.monotonic() < started + request.seconds:
            await queue.submit(0)
            count += 1
        return count

    return sum(await asyncio.gather(*[caller() for _ in range(request.callers)])), started


async def _by_batches(queue: Queue, request: Request) -> int:
    """Submit `jobs` jobs in whole batches or, when none are named, for `seconds`."""
    until = time.monotonic() + request.seconds
    count = 0
    while count < request.jobs if request.jobs else time.monotonic() < until:
        await queue.submit_batch()
        count += BATCH
    return count


async def _steadily(queue: Queue, request: Request) -> tuple[int, float]:
    """Submit by the clock, whether or not the one before has returned."""
    started = time.monotonic()
    count = int(request.per_second * request.seconds)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(started + number / request.per_second - time.monotonic())
            group.create_task(queue.submit(time.monotonic_ns()))
    return count, started


def _gate(hits: Hits) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    threading.Thread(target=_end_with_input, args=(hits,), daemon=True).start()


def _end_with_input(hits: Hits) -> None:
    """End the program at once, whatever the queue would still do."""
    sys.stdin.read()
    hits.write()
    os._exit(0)
