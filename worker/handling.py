"""Runs the attempts of jobs that name a handler, in the worker's own event loop.

What many attempts have in common is done once for all of them: how they ended is reported in
batches (whatever has ended while the last report was under way), and one look every few
milliseconds finds those that run too long, or so long that their start should be told.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

import structlog

from reactorcide.eventstore.domain.job import Failed, Outcome
from reactorcide.worker.coordinator import (
    AttemptKey,
    ClaimedAttempt,
    Coordinator,
    CoordinatorUnavailable,
)
from reactorcide.worker.halt import HaltReason
from reactorcide.worker.handled import AGAIN_SECONDS, Handling, halted, late
from reactorcide.worker.handler_attempt import call_handler
from reactorcide.worker.handler_threads import HandlerThreads
from reactorcide.worker.handlers import Handlers
from reactorcide.worker.reporting import Reports
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.spool import Spool
from reactorcide.worker.supervisor.clock import boot_seconds

_LOOK_SECONDS: Final = 0.05
_START_SECONDS: Final = 0.05
"""A handler that has run so long is said to run; what ends sooner is not worth an event."""
_LAST_CANCELLATIONS: Final = 10
_TURNS: Final = 100
_MOST_TASKS_AT_ONCE: Final = 32
_UNREPORTED: Final = 2
"""So many times as many attempts as there are slots may wait for their report."""

_log = structlog.get_logger(__name__)


class Handlings:
    """All that one worker handles; an async context manager that owns their tasks.

    `ended` is called when an attempt no longer needs its slot, `reported` when its lease is no
    longer needed either.
    """

    def __init__(  # noqa: PLR0913, PLR0917  what it works with, and whom it tells
        self,
        settings: WorkerSettings,
        coordinator: Coordinator,
        handlers: Handlers,
        ended: Callable[[], None],
        reported: Callable[[AttemptKey], None],
        spool: Spool,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._handlers = handlers
        self._ended = ended
        self._reported = reported
        self._threads = HandlerThreads(settings.concurrency)
        self._running: dict[AttemptKey, Handling] = {}
        self._reports = Reports(coordinator, spool, reported)
        self._has_running = asyncio.Event()
        self._waiting: deque[Handling] = deque()
        self._spreading = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many slots are taken: by what runs, and by what has long waited to be reported."""
        waiting = self._reports.count - self._settings.concurrency * _UNREPORTED
        return len(self._running) + max(waiting, 0)

    async def __aenter__(self) -> Self:
        """Start to report and to look."""
        self._tasks = {
            asyncio.create_task(self._reports.report_forever(self._ended), name="reports"),
            asyncio.create_task(self._look_forever(), name="handler-times"),
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what still runs; nothing of that is reported."""
        self._waiting.clear()
        await _end(self._tasks)
        self._threads.close()

    def launch(self, claimed: ClaimedAttempt, claimed_at: float) -> Handling:
        """Call the handler of an attempt, soon."""
        handling = Handling(claimed, claimed_at)
        self._running[claimed.key] = handling
        self._waiting.append(handling)
        if len(self._waiting) == 1:
            self._has_running.set()
            self._spread()
        return handling

    def _spread(self) -> None:
        """Have a task take what waits, and another when that one has to wait for something.

        To make a task takes longer than to run a handler that awaits nothing: a task goes on to
        the next attempt when it is through with one.
        """
        if self._waiting:
            for _ in range(min(len(self._waiting), self._spreading)):
                task = asyncio.create_task(self._attend_to_waiting())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            self._spreading = min(self._spreading * 2, _MOST_TASKS_AT_ONCE)
            asyncio.get_running_loop().call_soon(self._spread)
        else:
            self._spreading = 1

    async def _attend_to_waiting(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is one
        turns = 0
        while self._waiting:
            handling = self._waiting.popleft()
            handling.task = task
            await self._attend(handling)
            handling.task = None
            while task.cancelling():  # of that attempt, which is over
                task.uncancel()
            turns += 1
            if turns % _TURNS == 0:
                await asyncio.sleep(0)  # others want the loop as well

    async def _attend(self, handling: Handling) -> None:
        claimed = handling.claimed
        outcome: Outcome | None
        try:
            if handling.reason is None:
                outcome = await call_handler(
                    claimed,
                    self._handlers,
                    self._coordinator,
                    self._threads,
                    self._settings.grace_seconds,
                )
                if handling.reason is not None:
                    outcome = late(handling, outcome)
            else:  # asked to stop before it could begin
                outcome = halted(handling)
        except asyncio.CancelledError:
            if handling.reason is None:  # the worker itself is being stopped
                raise
            outcome = halted(handling)
        except Exception as error:  # noqa: BLE001  the edge of an attempt: its worker lives on
            key = claimed.key
            _log.exception("attempt_broken", job_id=str(key.job_id), attempt=key.attempt)
            outcome = Failed(None, f"the worker failed: {type(error).__name__}")
        finally:
            del self._running[claimed.key]
            self._ended()
        if outcome is None:
            self._reported(claimed.key)
            return
        self._reports.add(handling, outcome)

    # Times

    async def _look_forever(self) -> None:
        while True:
            await self._has_running.wait()
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._running:
                self._has_running.clear()
                continue
            self._look(boot_seconds())

    def _look(self, now: float) -> None:
        """Cancel what runs too long; say of what goes on running that it does."""
        starting = []
        for handling in self._running.values():
            seconds = now - handling.claimed_at
            if seconds > handling.claimed.submitted.timeout_seconds and handling.reason is None:
                handling.ask(HaltReason.TIMEOUT, self._settings.grace_seconds)
            elif now > handling.again_at:
                handling.ask_again()
            # What waits for its turn in the loop has not begun.
            if seconds > _START_SECONDS and not handling.is_started and handling.task is not None:
                starting.append(handling)
        # One at a time, and apart: times are kept while no start can be recorded.
        if starting and self._starting is None:
            self._starting = asyncio.create_task(self._start(starting), name="starts")
            self._tasks.add(self._starting)
            self._starting.add_done_callback(self._tasks.discard)

    async def _start(self, starting: list[Handling]) -> None:
        try:
            await self._coordinator.start_all([one.claimed.key for one in starting])
        except CoordinatorUnavailable:
            return  # once more at the next look
        except Exception:  # noqa: BLE001  they run all the same
            _log.exception("starts_not_recorded", attempts=len(starting))
        finally:
            self._starting = None
        for handling in starting:
            handling.is_started = True


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they end, a handler may hold that back, or for a few seconds."""
    left = set(tasks)
    for _ in range(_LAST_CANCELLATIONS):
        for task in left:
            task.cancel()
        if left:
            ended, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
            await asyncio.gather(*ended, return_exceptions=True)
    if left:
        _log.warning("handlers_left_behind", count=len(left))
