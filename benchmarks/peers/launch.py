"""Runs the systems' programs from outside: asks one for an answer, or holds a worker at its gate.

Knows nothing of databases or figures. Every program it starts ends before it returns, or with
the `async with` block.
"""

import asyncio
import contextlib
import json
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from reactorcide.benchmarks.peers.systems import System

_ANSWER_SECONDS: Final = 90
_READY_SECONDS: Final = 20
_STOP_SECONDS: Final = 20
_TAIL: Final = 600


class ProgramFailedError(Exception):
    """A system's program ended badly or did not answer; the text says how."""


class Hit(NamedTuple):
    """One handler call: when its job was submitted (0: nobody asked) and when it began, in ns."""

    sent: int
    began: int


_HITS: Final = TypeAdapter(list[Hit])


class Answer(NamedTuple):
    """What a program did: how many jobs it submitted, in how long."""

    jobs: int
    seconds: float


async def ask(system: System, kind: str, uri: str, **more: object) -> Answer:
    """Ask a system's program for one thing. Raises ProgramFailedError."""
    request = json.dumps({"kind": kind, "uri": uri, **more})
    asked = await asyncio.create_subprocess_exec(
        *system.words, request, env={**os.environ, **system.env},
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            said, complained = await asked.communicate()
    except TimeoutError:
        msg = f"no answer to {kind} in {_ANSWER_SECONDS} s"
        raise ProgramFailedError(msg) from None
    finally:
        await _end(asked)
    if asked.returncode != 0:
        msg = f"{kind}: {complained.decode(errors='replace')[-_TAIL:]}"
        raise ProgramFailedError(msg)
    lines = said.splitlines()
    return Answer(**json.loads(lines[-1])) if lines else Answer(0, 0)


class Worker:
    """A worker of one system. `ready` before `go`; `hits` after `stop`."""

    def __init__(self, system: System, uri: str, directory: Path) -> None:
        self._system = system
        self._uri = uri
        self._hits = directory / "hits.json"
        self._errors = directory / "errors.txt"
        data_dir = directory / "data"
        self._env = {
            **os.environ,
            **system.env,
            "PEERS_HITS": str(self._hits),
            "REACTORCIDE_DB_URI": uri,
            "REACTORCIDE_DATA_DIR": str(data_dir),
            "REACTORCIDE_LOG_LEVEL": "warning",
        }
        self._started: Process | None = None
        self._reading: asyncio.Task[bytes] | None = None

    async def ready(self) -> None:
        """Start it and wait until it stands at its gate."""
        request = json.dumps({"kind": "work", "uri": self._uri})
        started = await self._start(self._system.worker_words or (*self._system.words, request))
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                line = await _stream(started.stdout).readline()
        if line.strip() != b"ready":
            msg = f"its worker did not get ready: {self._complaint()}"
            raise ProgramFailedError(msg)
        # Else a queue that prints a lot would stop at a full pipe.
        self._reading = asyncio.create_task(_stream(started.stdout).read())

    async def go(self) -> None:
        """Let it work."""
        if self._started is not None:
            _sink(self._started.stdin).write(b"go\n")

    def check(self) -> None:
        """Raise ProgramFailedError when it has ended already."""
        if self._started is None or self._started.returncode is not None:
            msg = f"its worker ended: {self._complaint()}"
            raise ProgramFailedError(msg)

    async def stop(self) -> list[Hit]:
        """End it; return what its handlers saw. Raises ProgramFailedError."""
        self.check()
        started = self._started
        if started is None:
            return []
        if self._system.worker_words is not None:
            started.terminate()
        else:
            _sink(started.stdin).close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await started.wait()
        if not self._hits.exists():
            msg = f"its worker left nothing: {self._complaint()}"
            raise ProgramFailedError(msg)
        return _HITS.validate_json(self._hits.read_bytes())

    async def end(self) -> None:
        """End it for good, whatever it does."""
        if self._started is not None:
            await _end(self._started)
        if self._reading is not None:
            await self._reading

    async def _start(self, words: Sequence[str]) -> Process:
        with self._errors.open("wb") as errors:
            self._started = await asyncio.create_subprocess_exec(
                *words, env=self._env, stdin=PIPE, stdout=PIPE, stderr=errors
            )
        return self._started

    def _complaint(self) -> str:
        return self._errors.read_text(errors="replace")[-_TAIL:] if self._errors.exists() else ""


@asynccontextmanager
async def workers(system: System, uri: str, count: int) -> AsyncIterator[list[Worker]]:
    """Start so many workers and wait until all are ready; end them with the block."""
    with tempfile.TemporaryDirectory(prefix="rc-peers-") as directory:
        places = [Path(directory) / str(number) for number in range(count)]
        for place in places:
            place.mkdir()
        started = [Worker(system, uri, place) for place in places]
        try:
            await asyncio.gather(*[worker.ready() for worker in started])
            yield started
        finally:
            await asyncio.gather(*[worker.end() for worker in started])


async def _end(program: Process) -> None:
    if program.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise ProgramFailedError("it has no output")
    return stream


def _sink(stream: asyncio.StreamWriter | None) -> asyncio.StreamWriter:
    if stream is None:
        raise ProgramFailedError("it has no input")
    return stream
