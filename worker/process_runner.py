"""Runs a command as a plain child of the worker, and sees to its end.

It knows nothing of jobs: the environment and the directory are given.
"""

import asyncio
import contextlib
import signal
from typing import Any, Final

from reactorcide.worker.child import Child, Pipe, spawn
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_tree import ProcessTree, adopt_orphans, children
from reactorcide.worker.runner import Command, CommandNotStarted, Exit, Output, Stream

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
        before = children()
        try:
            child = spawn(command.argv, command.cwd, command.environment)
        except (OSError, ValueError) as error:
            raise CommandNotStarted(_reason_of(error)) from error
        tree = ProcessTree(child.pid, command.mark, before)
        pumps = asyncio.gather(
            _pump("stdout", child.stdout, output), _pump("stderr", child.stderr, output)
        )
        try:
            was_halted = await _until_ended(child, tree, halt, pumps)
            await _destroy(child, tree)
            child.stdout.cut()
            child.stderr.cut()
            await pumps
        except BaseException:
            await _abandon(child, tree, pumps)
            raise
        finally:
            child.close()
        return Exit(-1 if child.exit_code is None else child.exit_code, was_halted)


async def _pump(stream: Stream, pipe: Pipe, output: Output) -> None:
    """Hand everything on, as slowly as it is taken."""
    while data := await pipe.read():
        await output.write(stream, data)
        await asyncio.sleep(0)  # a command that never pauses must not keep the loop to itself


async def _until_ended(
    child: Child, tree: ProcessTree, halt: Halt, pumps: "asyncio.Future[Any]"
) -> bool:
    """Wait for the command's end, or see to it; return whether it was halted.

    Raises what the output raises.
    """
    ended = asyncio.create_task(child.wait())
    asked = asyncio.create_task(halt.wait())
    try:
        while not (ended.done() or asked.done()):
            watched = {ended, asked} if pumps.done() else {ended, asked, pumps}
            await asyncio.wait(watched, timeout=_REAP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if pumps.done():
                pumps.result()
            tree.reap_orphans()
    finally:
        ended.cancel()
        asked.cancel()
    if child.has_ended:
        return False
    await _stop(child, tree, halt)
    return True


async def _stop(child: Child, tree: ProcessTree, halt: Halt) -> None:
    """TERM to all, and wait until all are gone or the grace is over (it may shrink)."""
    if halt.grace_seconds > 0:
        tree.send(signal.SIGTERM)
    while halt.grace_seconds > 0 and (not child.has_ended or tree.members()):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await (asyncio.sleep(1) if child.has_ended else child.wait())


async def _destroy(child: Child, tree: ProcessTree) -> None:
    """Kill whatever is left of the command."""
    if child.has_ended and tree.has_left_nothing():
        return
    await tree.destroy(_DEATH_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_SECONDS):
            await child.wait()


async def _abandon(child: Child, tree: ProcessTree, pumps: "asyncio.Future[Any]") -> None:
    """Kill without any grace: the worker itself is being stopped, or the output refuses."""
    tree.send(signal.SIGKILL)
    pumps.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await pumps
    await _destroy(child, tree)


def _reason_of(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"the command could not be started: {error.strerror}{where}"
    return f"the command could not be started: {error}"
