"""The worker's side of its supervisors: starts them, asks of them, cleans up after one that dies.

The first is started with the first command, or before if so asked, and again with the next one
when it has died; another one where there is more to start than one can.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from reactorcide.worker.pipes import Pipe, Watch, open_pipes
from reactorcide.worker.runner import Command
from reactorcide.worker.supervisor import cgroups, kinship
from reactorcide.worker.supervisor.messages import Ended, Halt, Hold, NotStarted, Start
from reactorcide.worker.supervisor.wire import Hangup, Wire

_PROGRAM: Final = ("-P", "-m", "reactorcide.worker.supervisor")
_HANDED_ON: Final = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
"""What a Python may need to find itself; the worker's passwords are none of its business."""

_END_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.02
_MANY: Final = 4
"""Commands that make a supervisor busy: it waits for each until that has become its program."""

SUPERVISORS: Final[set[int]] = set()
"""The pids of supervisors that live. As wide as what it describes: this process's children."""

_log = structlog.get_logger(__name__)


class Started:
    """A command that was asked for, and what has become of it."""

    def __init__(
        self, line: "_Line", number: int, pipes: tuple[Pipe, Pipe], tell: Callable[[], None]
    ) -> None:
        self.line = line
        self.number = number
        self.stdout, self.stderr = pipes
        self.end: Ended | NotStarted | None = None
        """None while it may run."""
        self.is_abandoned = False
        """Its supervisor died, and nothing of it is left."""
        self._tell = tell

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left."""
        return self.end is not None or self.is_abandoned

    def halt(self, grace_seconds: float) -> None:
        """TERM to all of it now, KILL after the grace; see Halt."""
        self.line.send(Halt(self.number, grace_seconds))

    def give_up(self) -> None:
        """Kill a supervisor that does not answer; its commands are killed here then."""
        self.line.kill()

    def close(self) -> None:
        """Give back the pipes."""
        self.stdout.close()
        self.stderr.close()

    def take(self, end: Ended | NotStarted | None) -> None:
        """Be told of the end; None: nobody knows how it ended."""
        self.end, self.is_abandoned = end, end is None
        self._tell()


class Supervision:
    """One worker's supervisors, `most` at most. `close` ends them, and so does the loop's end."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._lines: list[_Line] = []
        self._watch: Watch | None = None
        self._numbers = itertools.count(1)
        self._endings: set[asyncio.Task[None]] = set()

    def prepare(self) -> None:
        """Have all of them. Raises OSError when one is not to be had."""
        while len(self._lines) < self._most:
            self._open()

    def start(self, command: Command, until: float, tell: Callable[[], None]) -> Started:
        """Ask for a command that must be dead at `until`; `tell` is called in the loop at its end.

        Raises OSError when there are no descriptors left, or no supervisor to be had.
        """
        line = self._least_busy()
        if self._watch is None:
            self._watch = Watch()
        ours, theirs = open_pipes(self._watch)
        started = Started(line, next(self._numbers), ours, tell)
        line.start(started, command, until, theirs)
        return started

    def hold(self, until: float, held: Sequence[str], lost: Sequence[str]) -> None:
        """Let attempts go on until then, and kill those that are lost. From any thread."""
        if held or lost:
            for line in tuple(self._lines):
                line.send(Hold(until, held, lost))

    async def close(self) -> None:
        """End the supervisors and with them whatever still runs; may be repeated."""
        for line in tuple(self._lines):
            line.hang_up()
            self._end(line)
        if self._endings:
            await asyncio.wait(self._endings)
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _least_busy(self) -> "_Line":
        line = min(self._lines, key=_Line.count, default=None)
        if line is None or (line.count() >= _MANY and len(self._lines) < self._most):
            return self._open()
        return line

    def _open(self) -> "_Line":
        kinship.adopt_orphans()
        line = _Line(self._end)
        self._lines.append(line)
        return line

    def _end(self, line: "_Line") -> None:
        self._lines.remove(line)
        task = asyncio.get_running_loop().create_task(line.bury(), name="supervisor-end")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


class _Line:
    """One supervisor while it lives, and the commands it was asked for."""

    def __init__(self, on_hangup: Callable[["_Line"], None]) -> None:
        """Start it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._program = subprocess.Popen(  # noqa: S603  our own module
                    [sys.executable, *_PROGRAM],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        SUPERVISORS.add(self._program.pid)
        self._wire = Wire(ours)
        self._on_hangup = on_hangup
        self._running: dict[int, Started] = {}
        self._was_hung_up = False
        self._is_sending = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(ours.fileno(), self._hear)

    def count(self) -> int:
        """Return how many run."""
        return len(self._running)

    def start(self, started: Started, command: Command, until: float, outputs: list[int]) -> None:
        """Ask for a command, and hand over the descriptors that it writes to."""
        self._running[started.number] = started
        cwd, attempt = os.fspath(command.cwd), " ".join(command.mark)
        request = Start(
            started.number, attempt, until, command.argv, cwd, dict(command.environment)
        )
        if self._is_sending:
            self._wire.keep(request, outputs)
        else:  # the first of one turn of the loop goes at once, the others together
            self._is_sending = True
            self._loop.call_soon(self._send_kept)
            self.send(request, outputs)

    def send(self, message: Start | Halt | Hold, descriptors: Sequence[int] = ()) -> None:
        """Send, from any thread; what does not fit goes when it does."""
        if not self._wire.send(message, descriptors):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._flush_later)

    def kill(self) -> None:
        """Kill the supervisor."""
        self._program.kill()

    def hang_up(self) -> None:
        """Say that there is nothing more to do, and hear nothing more."""
        self._was_hung_up = True
        self._forget_wire()

    async def bury(self) -> None:
        """Wait for the supervisor's end, kill what it left, and tell who waits for an end."""
        self._forget_wire()
        try:
            async with asyncio.timeout(_END_SECONDS):
                while self._program.poll() is None:  # noqa: ASYNC110  it rings no event here
                    await asyncio.sleep(_AGAIN_SECONDS / 4)
        except TimeoutError:
            self._program.kill()
            await asyncio.to_thread(self._program.wait, _END_SECONDS)
        SUPERVISORS.discard(self._program.pid)
        if not self._was_hung_up:
            _log.error("supervisor_died", status=self._program.returncode)
        try:
            async with asyncio.timeout(_END_SECONDS):
                while _is_left_of(self._program.pid):  # noqa: ASYNC110  as above
                    await asyncio.sleep(_AGAIN_SECONDS)
        except TimeoutError:
            _log.error("commands_not_killed")
        for started in self._running.values():
            started.take(None)

    def _forget_wire(self) -> None:
        if self._wire.fileno() >= 0:
            self._loop.remove_reader(self._wire.fileno())
            self._loop.remove_writer(self._wire.fileno())
            self._wire.close()

    def _hear(self) -> None:
        try:
            for message, _ in self._wire.receive():
                if isinstance(message, Ended | NotStarted):
                    self._running.pop(message.tree).take(message)
        except Hangup:
            self._forget_wire()
            self._on_hangup(self)

    def _send_kept(self) -> None:
        self._is_sending = False
        if self._wire.fileno() >= 0 and not self._wire.flush():
            self._flush_later()

    def _flush_later(self) -> None:
        if self._wire.fileno() >= 0:
            self._loop.add_writer(self._wire.fileno(), self._flush)

    def _flush(self) -> None:
        if self._wire.flush():
            self._loop.remove_writer(self._wire.fileno())


def _environment() -> dict[str, str]:
    """Return what the supervisor needs to find the same modules as this process."""
    handed_on = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  text to text
    return {**handed_on, "PYTHONPATH": paths}


def _is_left_of(supervisor: int) -> bool:
    """Kill what a dead supervisor's commands were; return whether something was there."""
    return _kill_orphans() | (not cgroups.bury(supervisor))


def _kill_orphans() -> bool:
    """Kill those children of ours that carry a mark; return whether there were any.

    Living supervisors carry the mark of their latest command themselves.
    """
    own = kinship.mark_of(0)
    orphans = {
        pid for pid in kinship.children() - SUPERVISORS if kinship.mark_of(pid) not in {None, own}
    }
    kinship.send(orphans, signal.SIGKILL)
    kinship.send(kinship.descendants(orphans), signal.SIGKILL)
    for pid in orphans:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(orphans)
