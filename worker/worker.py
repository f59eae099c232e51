"""The worker: takes work while it may, keeps its leases alive, and ends in good order.

It holds no rule about jobs; all it knows of them comes through the coordinator.
"""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.worker.attempt import Tools, run_attempt
from reactorcide.worker.beats import Beats
from reactorcide.worker.coordinator import (
    Claim,
    ClaimedAttempt,
    Coordinator,
    CoordinatorUnavailable,
    Report,
)
from reactorcide.worker.environment import mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.handled import Handling, halted
from reactorcide.worker.handlers import NO_HANDLERS, Handlers
from reactorcide.worker.handling import Handlings
from reactorcide.worker.leases import Commanding, Leases, Running
from reactorcide.worker.loop_watch import LoopWatch
from reactorcide.worker.runner import Runner
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.spool import Spool, Spooled
from reactorcide.worker.spool_sender import SpoolSender
from reactorcide.worker.supervisor.clock import boot_seconds
from reactorcide.worker.unless import unless

_STUCK_SECONDS: Final = 2.0
"""Whoever is stopped without grace and has not ended by then does not mean to."""

_RETRY_SECONDS: Final = 0.5
_CONTROL_SECONDS: Final = 60.0
_SETTLING_SECONDS: Final = 0.03

_log = structlog.get_logger(__name__)


class Worker:
    """One worker process's work. `run` once."""

    def __init__(
        self,
        settings: WorkerSettings,
        coordinator: Coordinator,
        runner: Runner,
        handlers: Handlers = NO_HANDLERS,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._spool = Spool(settings.spool_dir)
        self._tools = Tools(settings, coordinator, runner, self._spool)
        self._leases = Leases(settings.lease_seconds, runner)
        self._commands = 0
        self._slot_freed = asyncio.Event()
        self._handlings = Handlings(
            settings, coordinator, handlers, self._slot_freed.set, self._leases.forget, self._spool
        )
        self._released = asyncio.Event()
        self._claim_failed = False
        self._is_woken = False

    def release(self) -> None:
        """Give back what runs, now: for the second signal, once `stop` is set."""
        self._released.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain. Nothing is left behind when this returns.

        Raises CoordinatorUnavailable when it cannot even register.
        """
        await self._coordinator.register(self._registration())
        log = _log.bind(worker_id=str(self._coordinator.worker_id), name=self._settings.name)
        log.info("worker_started", queues=self._settings.queues)
        if not self._settings.handlers:
            self._tools.runner.prepare()
        try:
            with LoopWatch(), self._tools.workspaces.held(), self._beats() as beats:
                async with self._handlings, asyncio.TaskGroup() as tasks:
                    control = tasks.create_task(self._obey_at_once(beats), name="control")
                    sender = SpoolSender(
                        self._spool, self._coordinator, self._leases.running.__contains__
                    )
                    spool = tasks.create_task(sender.send_forever(), name="spool")
                    await self._claim_until(stop, tasks)
                    log.info("worker_draining", running=len(self._leases.running))
                    await self._drain()
                    control.cancel()
                    spool.cancel()
                await self._give_back_stuck()
        finally:
            await self._tools.runner.close()
        with contextlib.suppress(CoordinatorUnavailable):
            await self._coordinator.stop("released" if self._released.is_set() else "drained")
        log.info("worker_stopped")

    def _registration(self) -> WorkerRegistered:
        settings = self._settings
        return WorkerRegistered(
            name=settings.name,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            queues=settings.queues,
            concurrency=settings.concurrency,
            labels=dict(settings.labels),
            runner=self._tools.runner.name,
            code_version=settings.code_version,
        )

    def _beats(self) -> Beats:
        return Beats(
            self._coordinator.open_beater,
            self._settings.lease_seconds / 3,
            lambda: tuple(self._leases.running),
            self._leases.take_beat,
            self._leases.pass_on,
        )

    # Claiming

    async def _claim_until(self, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        """Fill the slots, wait, and again. A claim under way is never broken off."""
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _: self._slot_freed.set())
        try:
            while not stop.is_set():
                self._slot_freed.clear()
                free = self._settings.concurrency - self._commands - self._handlings.count
                if free <= 0:
                    await self._slot_freed.wait()
                elif not self._leases.are_held.is_set():
                    await unless(stopped, self._leases.are_held.wait())
                else:
                    asked_at = boot_seconds()
                    claim = await self._claim(free)
                    self._launch(claim.attempts, asked_at, tasks)
                    self._is_woken = False
                    if not claim.has_more:
                        await asyncio.sleep(0)  # what was launched goes first: somebody waits
                        await unless(stopped, self._wait_for_work())
        finally:
            stopped.cancel()

    async def _claim(self, slots: int) -> Claim:
        try:
            claim = await self._coordinator.claim(slots, is_woken=self._is_woken)
        except CoordinatorUnavailable as error:
            if not self._claim_failed:
                _log.warning("claim_failed", detail=error.detail)
            self._claim_failed = True
            return Claim((), has_more=False)
        self._claim_failed = False
        return claim

    async def _wait_for_work(self) -> None:
        """Wait for a ring; look anyway when something is due, or it was quiet for long."""
        # A worker that has enough to do need not ask what comes later.
        self._is_woken = await self._coordinator.wait_for_work(_SETTLING_SECONDS)
        if self._is_woken:
            return
        limit = self._settings.poll_seconds * random.uniform(0.67, 1.67)  # noqa: S311  jitter
        try:
            next_due_seconds = await self._coordinator.next_due_seconds()
        except CoordinatorUnavailable:
            next_due_seconds = _RETRY_SECONDS
        if next_due_seconds is not None:
            limit = min(limit, max(next_due_seconds, 0) + random.uniform(0.001, 0.02))  # noqa: S311  jitter
        self._is_woken = await self._coordinator.wait_for_work(limit)

    def _launch(
        self, attempts: Sequence[ClaimedAttempt], asked_at: float, tasks: asyncio.TaskGroup
    ) -> None:
        running = self._leases.running
        with_handler = [one for one in attempts if one.submitted.handler is not None]
        for handling in self._handlings.launch(with_handler, asked_at):
            running[handling.claimed.key] = handling
        if len(with_handler) == len(attempts):
            return
        for claimed in attempts:
            if claimed.submitted.handler is None:
                halt, mark = Halt(self._leases.until(asked_at)), " ".join(mark_of(*claimed.key))
                running[claimed.key] = Commanding(halt, mark, asked_at)
                self._commands += 1
                name = f"attempt-{claimed.key.job_id}"
                tasks.create_task(self._attend(claimed, halt), name=name)

    async def _attend(self, claimed: ClaimedAttempt, halt: Halt) -> None:
        try:
            await run_attempt(claimed, self._tools, halt, self._end_command)
        finally:
            self._leases.forget(claimed.key)
            self._slot_freed.set()

    def _end_command(self) -> None:
        self._commands -= 1
        self._slot_freed.set()

    async def _obey_at_once(self, beats: Beats) -> None:
        """Beat whenever somebody may want a stop: the answer says so."""
        while True:
            await self._coordinator.wait_for_control(_CONTROL_SECONDS)
            beats.beat_now()

    # Stopping

    async def _drain(self) -> None:
        """Let what runs end; stop and release what does not."""
        with contextlib.suppress(CoordinatorUnavailable):
            await self._coordinator.drain()
        ended = asyncio.create_task(self._all_ended())
        released = asyncio.create_task(self._released.wait())
        either = {ended, released}
        try:
            await asyncio.wait(
                either,
                timeout=self._settings.drain_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            grace_seconds = self._settings.grace_seconds
            self._halt_all(grace_seconds)
            if not released.done():
                await asyncio.wait(
                    either,
                    timeout=grace_seconds + _STUCK_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            self._halt_all(0)
            await self._end_but_for_stuck(ended)
        finally:
            ended.cancel()
            released.cancel()

    async def _all_ended(self) -> None:
        while self._leases.running:
            self._slot_freed.clear()
            await self._slot_freed.wait()

    async def _end_but_for_stuck(self, ended: "asyncio.Task[None]") -> None:
        """Wait until nothing runs but handlers that hold back every cancellation.

        Commands are killed, and a report that is not taken ends with its lease.
        """
        patient_until = boot_seconds() + _STUCK_SECONDS
        while not ended.done():
            await asyncio.wait({ended}, timeout=_STUCK_SECONDS / 10)
            if boot_seconds() > patient_until and all(
                map(_is_stuck, self._leases.running.values())
            ):
                return

    async def _give_back_stuck(self) -> None:
        """Report what could not be stopped, as the last thing: it ends with this program."""
        stuck = {
            key: running for key, running in self._leases.running.items() if _is_stuck(running)
        }
        reports = [
            Report(key, outcome)
            for key, running in stuck.items()
            if isinstance(running, Handling) and (outcome := halted(running))
        ]
        if reports:
            _log.warning("handlers_given_up", attempts=len(reports))
            try:
                await self._coordinator.finish_all(reports)
            except CoordinatorUnavailable:
                worker_id = self._coordinator.worker_id
                await self._spool.keep([Spooled(worker_id, report) for report in reports])

    def _halt_all(self, grace_seconds: float) -> None:
        for running in tuple(self._leases.running.values()):
            running.ask(HaltReason.DRAIN, grace_seconds)


def _is_stuck(running: Running) -> bool:
    """Say whether a handler still runs, of one that was told to stop long ago."""
    return isinstance(running, Handling) and running.task is not None
