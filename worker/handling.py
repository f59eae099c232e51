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
from reactorcide.worker.handler_attempt import Calling, call_handler
from reactorcide.worker.handler_log import RUNNING
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
_TURN_SECONDS: Final = 0.01
"""So long handlers that await nothing are called one after the other. What has ended by then is
reported together, and as many jobs are claimed together: a statement costs little less for few."""
_TURNS: Final = 20
"""After so many the clock is looked at."""
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
        self._ended = ended
        self._reported = reported
        self._threads = HandlerThreads(settings.concurrency)
        loop = asyncio.get_running_loop()
        self._calling = Calling(handlers, coordinator, self._threads, settings.grace_seconds, loop)
        self._running: dict[Handling, None] = {}  # a set in the order of the launches
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

    def launch(self, attempts: Iterable[ClaimedAttempt], claimed_at: float) -> list[Handling]:
        """Call the handlers of attempts, soon."""
        launched = [Handling(claimed, claimed_at) for claimed in attempts]
        is_idle = not self._waiting
        self._running.update(dict.fromkeys(launched))
        self._waiting.extend(launched)
        if launched and is_idle:
            self._has_running.set()
            self._spread()
        return launched

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
        turns, until = 0, boot_seconds() + _TURN_SECONDS
        while self._waiting:
            handling = self._waiting.popleft()
            handling.task = task
            # Not in a coroutine for each: to make one takes as long as to call a short handler.
            outcome: Outcome | None
            try:
                if handling.reason is None:
                    outcome = await call_handler(handling.claimed, self._calling)
                    if handling.reason is not None:
                        outcome = late(handling, outcome)
                else:  # asked to stop before it could begin
                    outcome = halted(handling)
            except asyncio.CancelledError:
                if handling.reason is None:  # the worker itself is being stopped
                    raise
                outcome = halted(handling)
            except Exception as error:  # noqa: BLE001  the edge of an attempt: its worker lives on
                outcome = _broken(handling.claimed.key, error)
            finally:
                del self._running[handling]
                self._ended()
            handling.task = None
            if outcome is None:
                self._reported(handling.claimed.key)
            else:
                self._reports.add(handling, outcome)
            if task.cancelling():
                _uncancel(task)  # that was for the attempt, which is over
            turns += 1
            if turns % _TURNS == 0 and boot_seconds() > until:
                await asyncio.sleep(0)  # others want the loop as well
                until = boot_seconds() + _TURN_SECONDS

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
        for handling in self._running:
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


def _broken(key: AttemptKey, error: Exception) -> Outcome:
    """Return the outcome of an attempt that failed by a defect of the worker's."""
    RUNNING.set(None)  # it is the worker's
    _log.error("attempt_broken", job_id=str(key.job_id), attempt=key.attempt, exc_info=error)
    return Failed(None, f"the worker failed: {type(error).__name__}")


def _uncancel(task: asyncio.Task[None]) -> None:
    while task.cancelling():
        task.uncancel()
