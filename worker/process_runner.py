"""Runs a command as a plain child of the worker, and sees to its end.

It knows nothing of jobs: the environment and the directory are given. A command that prints
nothing costs no task: what happens to it is told by the loop.
"""

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from typing import Final

from reactorcide.worker.child import Child, spawn
from reactorcide.worker.halt import Halt
from reactorcide.worker.listening import Listener
from reactorcide.worker.process_tree import ProcessTree, adopt_orphans, children
from reactorcide.worker.runner import Command, CommandNotStarted, Exit, Output

_DEATH_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_REAP_SECONDS: Final = 5.0


class ProcessRunner:
    """A Runner without any walls: the command may do what the worker's user may do."""

    name = "process"

    def __init__(self) -> None:
        """Make the worker the parent of all that its commands forget, for its whole life."""
        adopt_orphans()

    async def run(self, command: Command, output: Output, halt: Halt) -> Exit:
        """Run in a session of its own; see `Runner.run`."""
        before, news = children(), asyncio.Event()
        try:
            child = spawn(command.argv, command.cwd, command.environment, news.set)
        except (OSError, ValueError) as error:
            raise CommandNotStarted(_reason_of(error)) from error
        tree = ProcessTree(child.pid, command.mark, before)
        running = _Running(child, tree, Listener(child, output, news.set), news)
        try:
            was_halted = await running.until_ended(halt)
            await running.destroy()
            await running.listener.finish()
        except BaseException:
            await running.abandon()
            raise
        finally:
            child.close()
        return Exit(-1 if child.exit_code is None else child.exit_code, was_halted)


@dataclass(frozen=True, slots=True)
class _Running:
    """A command that runs, and `news` of it: it ended, a stop is asked for, its output refuses."""

    child: Child
    tree: ProcessTree
    listener: Listener
    news: asyncio.Event

    async def until_ended(self, halt: Halt) -> bool:
        """Wait for the command's end, or see to it; return whether it was halted.

        Raises what the output raises.
        """
        halt.listen(self.news.set)
        reaping = _Reaping(self.tree)
        try:
            while not (self.child.has_ended or halt.is_asked or self.listener.refusal):
                await self._hears()
        finally:
            reaping.end()
            halt.ignore(self.news.set)
        if self.child.has_ended:
            return False
        if self.listener.refusal:
            raise self.listener.refusal
        await self._stop(halt)
        return True

    async def destroy(self) -> None:
        """Kill whatever is left of the command."""
        if self.child.has_ended and self.tree.has_left_nothing():
            return
        await self.tree.destroy(_DEATH_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                while not self.child.has_ended:
                    await self._hears()

    async def abandon(self) -> None:
        """Kill without any grace: the worker itself is being stopped, or the output refuses."""
        self.tree.send(signal.SIGKILL)
        await self.listener.stop()
        await self.destroy()

    async def _stop(self, halt: Halt) -> None:
        """TERM to all, and wait until all are gone or the grace is over (it may shrink)."""
        if halt.grace_seconds > 0:
            self.tree.send(signal.SIGTERM)
        while halt.grace_seconds > 0 and (not self.child.has_ended or self.tree.members()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._hears()

    async def _hears(self) -> None:
        """Return at the next news."""
        self.news.clear()
        await self.news.wait()


class _Reaping:
    """Takes the exit status of a long-running command's orphans from time to time."""

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree
        self._timer = self._next()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(_REAP_SECONDS, self._reap)

    def _reap(self) -> None:
        self._tree.reap_orphans()
        self._timer = self._next()


def _reason_of(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"the command could not be started: {error.strerror}{where}"
    return f"the command could not be started: {error}"
