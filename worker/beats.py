"""Keeps a worker's leases from a thread of its own, so that no busy event loop can stop it.

It decides nothing: what a beat brought is handed to the worker's loop.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import structlog

from reactorcide.worker.coordinator import AttemptKey, Beater, CoordinatorUnavailable
from reactorcide.worker.supervisor.clock import boot_seconds

_log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 0.5
_JOIN_SECONDS: Final = 5.0

OpenBeater: TypeAlias = Callable[[], AbstractAsyncContextManager[Beater]]


@dataclass(frozen=True, slots=True)
class Beat:
    """What one beat came to."""

    began: float
    """By `boot_seconds`: the leases that were renewed run from here at least."""
    keys: Sequence[AttemptKey]
    """What was asked to be renewed."""
    held: Mapping[AttemptKey, int | None] | None
    """What is still held, with the grace of a requested stop; None: there was no answer."""
    detail: str = ""
    """Why there was none."""


class Beats:
    """Beats as long as its `with` block lasts.

    `keys` and `heard` are called in the thread and must be safe there; `told` is called in the
    loop that entered, and so perhaps late. Leaving waits for a beat under way, a few seconds at
    most.
    """

    def __init__(
        self,
        open_beater: OpenBeater,
        interval_seconds: float,
        keys: Callable[[], Sequence[AttemptKey]],
        told: Callable[[Beat], None],
        heard: Callable[[Beat], None] = lambda _: None,
    ) -> None:
        self._open_beater = open_beater
        self._interval_seconds = interval_seconds
        self._keys = keys
        self._told = told
        self._heard = heard
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self._is_over = False
        self._inside: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._is_ready = threading.Event()

    def __enter__(self) -> Self:
        """Start; the first beat is under way soon."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._is_ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the thread."""
        self._is_over = True
        self.beat_now()
        self._thread.join(_JOIN_SECONDS)

    def beat_now(self) -> None:
        """Beat once more without waiting for the time."""
        if self._inside is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended by itself
                self._inside.call_soon_threadsafe(self._woken.set)

    def _run(self) -> None:
        asyncio.run(self._beat_until_over())

    async def _beat_until_over(self) -> None:
        self._inside = asyncio.get_running_loop()
        self._is_ready.set()
        async with self._open_beater() as beater:
            while not self._is_over:
                self._woken.clear()
                beat = await self._beat(beater)
                self._heard(beat)
                with contextlib.suppress(RuntimeError):  # the worker's loop is closed
                    self._loop.call_soon_threadsafe(self._told, beat)
                pause = self._interval_seconds
                if beat.held is None:
                    pause = min(pause, _RETRY_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause * random.uniform(0.8, 1)):  # noqa: S311  jitter
                        await self._woken.wait()

    async def _beat(self, beater: Beater) -> Beat:
        keys = self._keys()
        began = boot_seconds()
        try:
            async with asyncio.timeout(self._interval_seconds):
                held = await beater.beat(keys)
        except (CoordinatorUnavailable, TimeoutError) as error:
            return Beat(began, keys, None, str(error) or "no answer in time")
        except Exception as error:  # noqa: BLE001  else a worker would lose all and not know
            _log.exception("beat_broken")
            return Beat(began, keys, None, f"{type(error).__name__}: {error}")
        return Beat(began, keys, held)
