"""What the tests of running commands share: a command, who hears it, and waiting."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from reactorcide.eventstore.ids import new_id
from reactorcide.worker.environment import PATH, mark_of
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, Exit, Stream


class Heard:
    """Keeps what a command printed."""

    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""
        self.grew = asyncio.Event()

    async def write(self, stream: Stream, data: bytes) -> None:
        """Keep it."""
        if stream == "stdout":
            self.stdout += data
        else:
            self.stderr += data
        self.grew.set()

    async def line(self) -> bytes:
        """Return the first whole line of stdout once it is there."""
        async with asyncio.timeout(30):
            while b"\n" not in self.stdout:
                self.grew.clear()
                await self.grew.wait()
        return self.stdout.split(b"\n")[0]


def command(text: str, folder: Path, **environment: str) -> Command:
    """Return a shell command that runs in a folder with next to no environment."""
    mark = mark_of(new_id(), 1)
    marks = dict(entry.split("=", 1) for entry in mark)
    return Command(("sh", "-c", text), folder, {"PATH": PATH, **marks, **environment}, mark)


async def run(runner: ProcessRunner, text: str, folder: Path) -> tuple[Exit, Heard]:
    """Run to the end."""
    heard = Heard()
    async with asyncio.timeout(30):
        return await runner.run(command(text, folder), heard, Halt()), heard


def children_of(pid: int) -> str:
    """Return the children of a process that has one thread."""
    return (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text()


async def eventually(claim: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a claim holds."""
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110  what other programs do rings no event here
            await asyncio.sleep(0.01)
