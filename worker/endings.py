"""Says how attempts of commands ended: what has ended while the last report was on its way.

A lone end goes at once, but for the claim of the slot that it leaves. It has no task of its own,
decides nothing and keeps nothing: who is not heard says it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.worker.coordinator import AttemptKey, CoordinatorUnavailable, Report

_Waiting: TypeAlias = tuple[Report, "asyncio.Future[None]"]
FinishAll: TypeAlias = Callable[[Sequence[Report]], Awaitable[Mapping[AttemptKey, CommandRejected]]]

_MOST: Final = 200
_TURNS: Final = 4
"""Of the loop: within so many the claim for the free slot is sent. For that a command waits, and
for its commit; nobody waits for this."""


class Endings:
    """Shared by all attempts of a worker. The first of a batch reports it."""

    def __init__(self, finish_all: FinishAll) -> None:
        self._finish_all = finish_all
        self._in_flight = asyncio.Lock()
        self._waiting: list[_Waiting] = []

    async def finish(self, report: Report) -> None:
        """Report an end, with others. Raises what `Coordinator.finish` raises, of its own alone."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, answer))
        async with self._in_flight:
            while not answer.done():
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                await self._report()
        await answer

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
                elif not answer.done():  # else who asked was cancelled
                    answer.set_result(None)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    """Answer those that have no answer yet."""
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # perhaps nobody waits for it any more
