"""What a worker works on, and what its beats say of the leases: go on, stop, or given up.

It asks attempts to stop and tells the runner how long commands may live; it claims and reports
nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from reactorcide.worker.beats import Beat
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.runner import Runner
from reactorcide.worker.supervisor.clock import boot_seconds, margin_of

_LEASE_SAFETY: Final = 0.85
"""A command is killed when this much of its lease has passed without a beat."""

_log = structlog.get_logger(__name__)


class Running(Protocol):
    """An attempt that this worker works on."""

    claimed_at: float
    """By `boot_seconds`, before the claim was asked for."""

    def ask(self, reason: HaltReason, grace_seconds: float) -> None:
        """Stop: `grace_seconds` to do so by itself."""


class Commanding:
    """An attempt that runs a command."""

    def __init__(self, halt: Halt, mark: str, claimed_at: float) -> None:
        self.ask = halt.ask
        self.halt = halt
        self.mark = mark
        self.claimed_at = claimed_at


class Leases:
    """The attempts of one worker that have not been reported, each with its lease."""

    def __init__(self, seconds: float, runner: Runner) -> None:
        self.running: dict[AttemptKey, Running] = {}
        self.are_held = asyncio.Event()
        """Set while the last beat was answered: work may be taken."""
        self._seconds = seconds
        self._runner = runner
        self._beaten_at = float("-inf")

    def forget(self, key: AttemptKey) -> None:
        """Need its lease no longer."""
        del self.running[key]

    def until(self, alive_at: float) -> float:
        """Return when commands must be dead whose lease was asked for at that time."""
        return alive_at + self._seconds - margin_of(self._seconds)

    def pass_on(self, beat: Beat) -> None:
        """Tell the runner what a beat brought. In the thread of the beats: the loop may stand."""
        if beat.held is None:
            return
        until = self.until(beat.began)
        held: list[str] = []
        lost: list[str] = []
        for key in beat.keys:
            running = self.running.get(key)
            if isinstance(running, Commanding):
                (held if key in beat.held else lost).append(running.mark)
                if key in beat.held:
                    running.halt.held_until = max(running.halt.held_until, until)
        self._runner.hold(until, held, lost)

    def take_beat(self, beat: Beat) -> None:
        """Learn from a beat; without an answer no work is taken, and attempts end in time."""
        if beat.held is None:
            if self.are_held.is_set():
                _log.warning("beat_failed", detail=beat.detail)
            self.are_held.clear()
            self._lose_overdue()
            return
        self._beaten_at = beat.began
        self.are_held.set()
        for key in beat.keys:
            self._obey(key, beat.held)

    def _obey(self, key: AttemptKey, held: Mapping[AttemptKey, int | None]) -> None:
        running = self.running.get(key)
        if running is None:
            return
        if key not in held:
            running.ask(HaltReason.LOST, 0)
        elif (grace_seconds := held[key]) is not None:
            running.ask(HaltReason.CANCEL, grace_seconds)

    def _lose_overdue(self) -> None:
        """Give up the attempts whose lease may soon be another's."""
        now = boot_seconds()
        for running in tuple(self.running.values()):
            alive_at = max(self._beaten_at, running.claimed_at)
            if now > alive_at + self._seconds * _LEASE_SAFETY:
                running.ask(HaltReason.LOST, 0)
