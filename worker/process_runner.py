"""Runs a command as a plain program under the worker's supervisor, and sees to its end.

It knows nothing of jobs: the environment and the directory are given. A command that prints
nothing costs no task: what happens to it is told by the loop.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.listening import Listener
from reactorcide.worker.runner import (
    Command,
    CommandLost,
    CommandNotStarted,
    Exit,
    Output,
    Runner,
)
from reactorcide.worker.supervisor.messages import NotStarted
from reactorcide.worker.supervisor.supervision import Started, Supervision

_ANSWER_SECONDS: Final = 10.0
"""A supervisor that takes so much longer than it may hangs, or was stopped."""

_MANY: Final = 4
"""With so many slots one supervisor starts them too slowly: it would wait for processors' turns."""

_log = structlog.get_logger(__name__)


class ProcessRunner:
    """A Runner without any walls: the command may do what the worker's user may do."""

    name = "process"

    def __init__(self, concurrency: int = 1) -> None:
        """`concurrency`: so many commands may run at a time."""
        self._supervision = Supervision(1 if concurrency < _MANY else 2)

    @property
    def plain(self) -> Runner:
        """Itself."""
        return self

    def prepare(self) -> None:
        """Start the supervisors; a command says so if there is none to be had."""
        with contextlib.suppress(OSError):
            self._supervision.prepare()

    async def run(self, command: Command, output: Output, halt: Halt) -> Exit:
        """Run in a session of its own; see `Runner.run`."""
        news = asyncio.Event()
        try:
            started = self._supervision.start(command, halt.held_until, news.set)
        except OSError as error:
            detail = f"the command could not be started: {error.strerror}"
            raise CommandNotStarted(detail) from error
        pipes = (started.stdout, started.stderr)
        running = _Running(started, Listener(pipes, output, news.set), news)
        try:
            was_halted = await running.until_ended(halt)
            await running.listener.finish()
        except BaseException:
            await running.abandon()
            raise
        finally:
            started.close()
        return _exit_of(started, halt, was_halted)

    def hold(self, until: float, held: Sequence[str], lost: Sequence[str]) -> None:
        """Pass it on; see `Runner.hold`."""
        self._supervision.hold(until, held, lost)

    async def close(self) -> None:
        """End the supervisors."""
        await self._supervision.close()


class _Running:
    """A command that runs, and `news` of it: it ended, a stop is asked for, its output refuses."""

    def __init__(self, started: Started, listener: Listener, news: asyncio.Event) -> None:
        self.listener = listener
        self._started = started
        self._news = news

    async def until_ended(self, halt: Halt) -> bool:
        """Wait until nothing of the command is left, or see to it; return whether it was halted.

        Raises what the output raises.
        """
        halt.listen(self._news.set)
        try:
            while not (self._started.has_ended or halt.is_asked or self.listener.refusal):
                await self._hears()
            if self._started.has_ended:
                return False
            if self.listener.refusal:
                raise self.listener.refusal
            await self._stop(halt)
        finally:
            halt.ignore(self._news.set)
        return True

    async def abandon(self) -> None:
        """Kill without any grace: the worker itself is being stopped, or the output refuses."""
        await self.listener.stop()
        if not self._started.has_ended:
            await self._stop(None)

    async def _stop(self, halt: Halt | None) -> None:
        """Have it stopped within its grace, which may shrink, and wait until nothing is left."""
        kill_at = float("inf")
        loop = asyncio.get_running_loop()
        while not self._started.has_ended:
            grace_seconds = 0.0 if halt is None else max(halt.grace_seconds, 0.0)
            if loop.time() + grace_seconds < kill_at:
                kill_at = loop.time() + grace_seconds
                self._started.halt(grace_seconds)
            try:
                async with asyncio.timeout_at(kill_at + _ANSWER_SECONDS):
                    await self._hears()
            except TimeoutError:
                _log.error("supervisor_hangs")
                self._started.give_up()
                kill_at = float("inf")

    async def _hears(self) -> None:
        """Return at the next news."""
        self._news.clear()
        await self._news.wait()


def _exit_of(started: Started, halt: Halt, was_halted: bool) -> Exit:  # noqa: FBT001  as it is there
    """Return how it ended. Raises CommandNotStarted and CommandLost."""
    end = started.end
    if end is None:
        raise CommandLost("the supervisor of the command died, and the command was killed")
    if isinstance(end, NotStarted):
        if end.detail is not None:
            raise CommandNotStarted(end.detail)
        halt.ask(HaltReason.LOST, 0)
        return Exit(-1, was_halted=True)
    if end.is_lost:
        halt.ask(HaltReason.LOST, 0)
    return Exit(-1 if end.exit_code is None else end.exit_code, was_halted or end.is_lost)
