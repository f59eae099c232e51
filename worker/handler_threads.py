"""A bounded pool of threads for functions that wait, and can't be stopped from outside.

Its threads are daemons, unlike those of `concurrent.futures`: a function that never returns must
not keep a worker from ending.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final, TypeAlias

_Task: TypeAlias = "tuple[Future[object], Callable[[], object]]"

_MOST_THREADS: Final = 64


class HandlerThreads:
    """Runs functions, at most `limit` at a time; the others wait their turn.

    `start` belongs to one thread alone. A thread is made when none is idle.
    """

    def __init__(self, limit: int) -> None:
        self._limit = min(limit, _MOST_THREADS)
        self._waiting: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def start(self, function: Callable[[], object]) -> "Future[object]":
        """Let a thread call it. The future can be cancelled as long as none does."""
        future: Future[object] = Future()
        self._waiting.put((future, function))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            name = f"handler-{self._count}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """Let the threads end after what they do and what waits."""
        for _ in range(self._count):
            self._waiting.put(None)

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            future, function = task
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001  whoever waits for it raises it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del task, future, function  # an idle thread holds on to nothing
            self._idle.release()
