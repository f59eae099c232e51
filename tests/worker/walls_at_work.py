"""What the tests of walls share: walls that work here, and one command at work within them."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.engines import IMAGE
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.bubblewrap import Bubblewrap
from reactorcide.worker.container import Containers, ContainerSettings
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.environment import environment_of, mark_of
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, Exit, Stream
from reactorcide.worker.walls import Inside, WalledRunner, Walls, WallsUnusable
from reactorcide.worker.workspace import Workspace

HOLD: Final = "exec 9>/tmp/held; "
"""How a command begins whose processes are told by `Holders`."""

_CHECKED: set[str] = set()

_opened: list[ProcessRunner] = []


def plain_runner() -> ProcessRunner:
    """Return a runner that is closed when the test ends."""
    _opened.append(ProcessRunner())
    return _opened[-1]


async def close_runners() -> None:
    """Close those that were opened."""
    while _opened:
        await _opened.pop().close()


async def walls_of(name: str, podman_here: dict[str, str], **changes: Any) -> Walls:
    """Return walls that work here, or skip."""
    walls: Walls
    if name == "bubblewrap":
        walls = Bubblewrap(network=changes.get("network", True))
    else:
        if "" in podman_here:
            pytest.skip(podman_here[""])
        wanted = {"engine": "podman", "image": IMAGE, "network": False, **changes}
        walls = Containers(ContainerSettings(**wanted), {**os.environ, **podman_here})
    try:
        if name not in _CHECKED or changes:
            await walls.check(plain_runner())
        _CHECKED.add(name)
    except WallsUnusable as error:
        pytest.skip(error.detail)
    return walls


class Printed:
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.text = ""

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Take it."""
        self.text += data.decode()


class At:
    """One command at work within walls."""

    def __init__(self, walls: Walls, workspace: Workspace, script: str, **fields: Any) -> None:
        key = AttemptKey(new_id(), 1)
        submitted = request(script, **fields)
        environment = environment_of(
            key=key, worker_id=new_id(), submitted=submitted, secrets={}, workspace=workspace
        )
        self.key = key
        cwd = workspace.path_of(submitted.job_dir)
        mark = mark_of(*key)
        argv = ("sh", "-c", script)
        image = submitted.runner_image
        self.command = Command(argv, cwd, environment, mark, workspace, image)
        self.printed = Printed()
        self.halt = Halt()
        self._runner = WalledRunner(plain_runner(), walls)

    async def run(self) -> Exit:
        """Run to its end."""
        async with asyncio.timeout(60):
            return await self._runner.run(self.command, self.printed, self.halt)


def inside_of(at: At) -> Inside:
    """Return it as walls are asked to surround it."""
    from reactorcide.worker.walls import _inside  # noqa: PLC0415  what `run` begins with

    return _inside(at.command)


def says(at: At, text: str) -> Callable[[], Coroutine[Any, Any, bool]]:
    """Return what tells whether something was printed."""

    async def look() -> bool:
        return text in at.printed.text

    return look


class Holders:
    """The processes that hold a pipe: of a command that began with HOLD, all that are left.

    Each is to write a line to descriptor 9 when it has come.
    """

    def __init__(self, workspace: Workspace) -> None:
        path = workspace.temporary / "held"
        os.mkfifo(path)
        self.have_come = False
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def are_gone(self) -> bool:
        """Whether some have come and none is left."""
        with suppress(BlockingIOError):
            while os.read(self._file, 4096):
                self.have_come = True
            return self.have_come
        return False

    def close(self) -> None:
        """Look no more."""
        os.close(self._file)
