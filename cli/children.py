"""Child processes of `up`: started, started again when they die, stopped, never left behind.

Knows nothing of what they do. Where the system can (Linux), a child is killed together with
its parent, however that ends.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_SETTLED_SECONDS: Final = 60.0

_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class StopAsked(BaseException):
    """A signal asks us to stop. Raised where the program stands; once."""


@dataclass(slots=True)
class Child:
    """A program that is to run, and the process that runs it."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    handed_down: tuple[int, ...] = ()
    """Descriptors it inherits."""
    running: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    deaths: int = 0
    """Since it last ran for a minute."""
    start_again_at: float | None = field(default=None)

    def start(self) -> None:
        """Start it, in a group of its own: a Ctrl-C is for us, and we tell it."""
        parent = os.getpid()
        self.start_again_at = None
        self.started_at = time.monotonic()
        self.running = subprocess.Popen(  # noqa: S603  our own program, no shell
            self.argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            pass_fds=self.handed_down,
            process_group=0,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  we have one thread
        )

    def exit_code(self) -> int | None:
        """Return its exit code if it ran and has ended."""
        return None if self.running is None else self.running.poll()

    def is_running(self) -> bool:
        """Say whether it runs now."""
        return self.running is not None and self.running.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to it, if it runs."""
        if self.running is not None:
            self.running.send_signal(number)

    def note_death(self) -> float:
        """Plan its next start; return in how many seconds."""
        now = time.monotonic()
        self.deaths = 1 if now - self.started_at > _SETTLED_SECONDS else self.deaths + 1
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self.deaths - 1), _LONGEST_PAUSE_SECONDS)
        self.running = None
        self.start_again_at = now + pause
        return pause


class Signals:
    """SIGTERM and SIGINT as StopAsked, the first time; SIGCHLD and all of them wake `wait`."""

    def __init__(self, wakeup: int) -> None:
        self.count = 0
        """How often we were asked to stop."""
        self._wakeup = wakeup

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """Note that we are asked to stop."""
        self.count += 1
        if self.count == 1:
            raise StopAsked

    def wait(self, seconds: float | None) -> None:
        """Return when a signal has come, or after the time."""
        ready, _, _ = select.select([self._wakeup], [], [], seconds)
        if ready:
            os.read(self._wakeup, 1024)


@contextmanager
def stop_signals() -> Iterator[Signals]:
    """Take signals inside of this block, in the main thread."""
    wakeup, written = os.pipe()
    os.set_blocking(written, False)
    signals = Signals(wakeup)
    before = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, signals.take),
            (signal.SIGINT, signals.take),
            (signal.SIGCHLD, lambda _number, _frame: None),
        )
    }
    previous = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wakeup)
        os.close(written)


def keep_running(children: Sequence[Child], signals: Signals, tell: Callable[[str], None]) -> None:
    """Start again those that die, with a growing pause, until StopAsked."""
    while True:
        now = time.monotonic()
        for child in children:
            code = child.exit_code()
            if code is not None:
                tell(f"{child.name} ended with {code}; starts again in {child.note_death():.1f} s")
            elif child.start_again_at is not None and child.start_again_at <= now:
                child.start()
        planned = [child.start_again_at for child in children if child.start_again_at is not None]
        signals.wait(max(0.0, min(planned) - time.monotonic()) if planned else None)


def stop_all(
    children: Sequence[Child], signals: Signals, patience_seconds: Sequence[float]
) -> None:
    """Ask all to stop, again after each of the patiences, and kill what is left.

    Another signal to us counts as the end of a patience.
    """
    for seconds in patience_seconds:
        for child in children:
            child.signal(signal.SIGTERM)
        asked, deadline = signals.count, time.monotonic() + seconds
        while any(child.is_running() for child in children) and signals.count == asked:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            signals.wait(left)
    for child in children:
        child.signal(signal.SIGKILL)
        if child.running is not None:
            child.running.wait()


def _die_with(parent: int) -> None:
    """Between fork and exec: ask to be killed when the parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)
