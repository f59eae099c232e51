"""Hands on what one command prints, as slowly as it is taken: a slow reader slows the command.

It keeps nothing: what has not been taken waits in the pipes.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from reactorcide.worker.pipes import Pipe
from reactorcide.worker.runner import Output, Stream


class Listener:
    """Listens to both streams of a command. It has a task only while there is something to say."""

    def __init__(
        self, pipes: tuple[Pipe, Pipe], output: Output, on_refusal: Callable[[], None]
    ) -> None:
        """`on_refusal` is called when the output raises; `finish` raises the same."""
        self._open: dict[Stream, Pipe] = dict(zip(("stdout", "stderr"), pipes, strict=True))
        self._output = output
        self._on_refusal = on_refusal
        self._task: asyncio.Task[None] | None = None
        self._is_listening = True
        self.refusal: Exception | None = None
        """What the output raised."""
        self._watch()

    async def finish(self) -> None:
        """Hand on what is in the pipes by now as all there is, whoever may still hold them open.

        Raises what the output raises.
        """
        self._is_listening = False
        if self._task is not None:
            await self._task
        if self.refusal is not None:
            raise self.refusal
        while self._open and await self._hand_round():
            pass

    async def stop(self) -> None:
        """Hand on nothing more."""
        self._unwatch()
        self._is_listening = False
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _watch(self) -> None:
        for stream, pipe in self._open.items():
            pipe.watch(partial(self._hear, stream))

    def _unwatch(self) -> None:
        for pipe in self._open.values():
            pipe.unwatch()

    def _hear(self, stream: Stream) -> None:
        data = self._read(stream)
        if data:
            self._unwatch()
            self._task = asyncio.get_running_loop().create_task(self._hand_on(stream, data))

    def _read(self, stream: Stream) -> bytes | None:
        """Read; at the stream's end close it."""
        data = self._open[stream].read()
        if data == b"":
            self._open.pop(stream).close()
        return data

    async def _hand_on(self, stream: Stream, data: bytes) -> None:
        """Hand on until nothing is there, then listen again."""
        try:
            await self._output.write(stream, data)
            while await self._hand_round():  # noqa: ASYNC110  it is not waited for anything
                await asyncio.sleep(0)  # a command that never pauses must not keep the loop
        except Exception as error:  # noqa: BLE001  handed over to who runs the command
            self.refusal = error
            self._on_refusal()
        else:
            if self._is_listening:
                self._watch()
        finally:
            self._task = None

    async def _hand_round(self) -> bool:
        """Hand on what each stream has; return whether any had."""
        has_heard = False
        for stream in tuple(self._open):
            data = self._read(stream)
            if data:
                has_heard = True
                self._unwatch()
                await self._output.write(stream, data)
        return has_heard
