"""One attempt of a job that names a handler, while it runs: how it is asked to stop.

And what its outcome is then. Runs nothing itself.
"""

import asyncio
from typing import Final, assert_never

from reactorcide.eventstore.domain.job import Cancelled, Outcome, Released, TimedOut
from reactorcide.worker.coordinator import ClaimedAttempt
from reactorcide.worker.halt import HaltReason
from reactorcide.worker.supervisor.clock import boot_seconds

AGAIN_SECONDS: Final = 0.5
"""A handler that was cancelled has so long, without any grace, until it is cancelled again."""


class Handling:
    """An attempt whose handler runs, or whose outcome is not yet reported."""

    __slots__ = ("again_at", "claimed", "claimed_at", "is_started", "reason", "task")

    def __init__(self, claimed: ClaimedAttempt, claimed_at: float) -> None:
        self.claimed = claimed
        self.claimed_at = claimed_at
        self.is_started = False
        """Its start is recorded."""
        self.reason: HaltReason | None = None
        self.again_at = float("inf")
        """When to cancel it once more; by `boot_seconds`."""
        self.task: asyncio.Task[None] | None = None
        """Who works on it; None before and after."""

    def ask(self, reason: HaltReason, grace_seconds: float) -> None:
        """Cancel the handler; the greatest reason and the earliest end of grace count.

        A grace of 0 cancels at once; in any case it is cancelled once more when its grace is
        over, since a handler may hold back a cancellation, and two at once are one.
        """
        is_new = self.reason is None
        self.reason = reason if self.reason is None else max(self.reason, reason)
        again_at = boot_seconds() + max(grace_seconds, AGAIN_SECONDS)
        self.again_at = min(self.again_at, again_at)
        if self.task is not None and (is_new or grace_seconds == 0):
            self.task.cancel()

    def ask_again(self) -> None:
        """Cancel a handler whose grace is over."""
        self.again_at = float("inf")
        if self.task is not None:
            self.task.cancel()


def halted(handling: Handling) -> Outcome | None:
    """Return the outcome of a handler that was cancelled; None: there is nobody to tell."""
    match handling.reason:
        case HaltReason.DRAIN:
            return Released("the worker stops")
        case HaltReason.TIMEOUT:
            limit = handling.claimed.submitted.timeout_seconds
            return TimedOut(None, f"ran longer than {limit} s")
        case HaltReason.CANCEL:
            return Cancelled(None)
        case HaltReason.LOST | None:
            return None
        case _:
            assert_never(handling.reason)


def late(handling: Handling, outcome: Outcome) -> Outcome | None:
    """Return what counts of a handler that ended by itself although it was asked to stop."""
    if handling.reason in {HaltReason.TIMEOUT, HaltReason.LOST}:
        return halted(handling)
    return outcome
