"""Tasks that run beside the requests, from the start of their owner to its end. One owner for all.

It knows nothing of what they do, and starts none again: what can go wrong, each has to survive by
itself. One that dies all the same is a defect, and said at once, by its name.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias

import structlog

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""What a task does until it is cancelled."""

_STOP_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


class Background:
    """The tasks of one owner, each with its name."""

    def __init__(self, works: Mapping[str, Work]) -> None:
        self._works = works
        self._tasks: list[asyncio.Task[None]] = []
        self._death: BaseException | None = None

    def start(self) -> None:
        """Start them all, in a loop that runs."""
        for name, work in self._works.items():
            task = asyncio.create_task(work(), name=name)
            task.add_done_callback(self._note_end)
            self._tasks.append(task)

    async def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Cancel them all, and wait until they have ended; so long at most, then it is said.

        May be repeated, and come before the start. Raises nothing that one of them died of.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=seconds)
        for task in left:
            _log.warning("background_task_left_behind", task=task.get_name())

    def check(self) -> None:
        """Raise what the first of them died of, if one did."""
        if self._death is not None:
            raise self._death

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        death = None if task.cancelled() else task.exception()
        if death is not None:
            self._death = self._death or death
            _log.error("background_task_died", task=task.get_name(), exc_info=death)
