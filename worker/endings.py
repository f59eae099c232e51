"""Says how attempts of commands ended, many in one report where many end.

A lone end goes at once, but for the claim of the slot that it leaves. Where one comes soon after
the other, and the slots are filled again, each waits a moment for others: nobody waits for it but
who asked for that job, and it stood in the queue for longer. It decides nothing and keeps nothing:
who is not heard says it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.settling import settle
from reactorcide.worker.coordinator import AttemptKey, CoordinatorUnavailable, Report

_Waiting: TypeAlias = tuple[Report, "asyncio.Future[None]"]
FinishAll: TypeAlias = Callable[[Sequence[Report]], Awaitable[Mapping[AttemptKey, CommandRejected]]]

_MOST: Final = 200
_APART_SECONDS: Final = 0.02
"""From one report to the next, while there is enough to do: a report costs as much as half a
command."""
_TURNS: Final = 4
"""Of the loop: within so many the claim for the free slot is sent. For that a command waits, and
for its commit; nobody waits for this."""


class Endings:
    """Shared by all attempts of a worker. It has a task while there is something to say."""

    def __init__(self, finish_all: FinishAll) -> None:
        self._finish_all = finish_all
        self._waiting: list[_Waiting] = []
        self._saying: asyncio.Task[None] | None = None
        self._said_at = float("-inf")
        self._is_busy = False
        self._pause: asyncio.Future[None] | None = None

    async def finish(self, report: Report) -> None:
        """Report an end, with others. Raises what `Coordinator.finish` raises, of its own alone.

        Cancelled, it is reported none the less.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self._waiting.append((report, answer))
        if self._saying is None:
            self._saying = loop.create_task(self._say_all(), name="endings")
        await answer

    def expect(self, *, more: bool) -> None:
        """Say whether there is more to claim, as the last claim has it: if not, nobody waits."""
        self._is_busy = more
        if not more and self._pause is not None:
            settle(self._pause)

    async def close(self) -> None:
        """Report nothing more; who waits is told so."""
        if self._saying is not None:
            self._saying.cancel()
            await asyncio.gather(self._saying, return_exceptions=True)
        _fail(self._waiting, CoordinatorUnavailable("closed"))
        self._waiting.clear()

    async def _say_all(self) -> None:
        """Report until nobody waits."""
        try:
            while self._waiting:
                await self._gather()
                await self._report()
        finally:
            self._saying = None

    async def _gather(self) -> None:
        """Let others come, for as long as it is worth it."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        next_at = self._said_at + _APART_SECONDS
        if self._is_busy and next_at > loop.time():
            self._pause = loop.create_future()
            timer = loop.call_at(next_at, settle, self._pause)
            try:
                await self._pause
            finally:
                timer.cancel()
                self._pause = None
        self._said_at = loop.time()

    async def _report(self) -> None:
        """Report what waits by now, the oldest first; answer all of it."""
        batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            await self._say(batch)
        finally:
            _fail(batch, CoordinatorUnavailable("interrupted"))

    async def _say(self, batch: Sequence[_Waiting]) -> None:
        """Report a batch; one with a report that breaks it is taken apart."""
        try:
            refused = await self._finish_all([report for report, _ in batch])
        except CoordinatorUnavailable as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001  it belongs to whose report it is
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:
                await self._say([one])
        else:
            for report, answer in batch:
                if report.key in refused:
                    _fail([(report, answer)], refused[report.key])
                else:
                    settle(answer)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    """Answer those that have no answer yet."""
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # perhaps nobody waits for it any more
