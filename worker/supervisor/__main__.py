"""The supervisor: `python -m reactorcide.worker.supervisor`, with its socket as standard input.

It starts commands as its worker asks, says how they ended, and kills them in time whatever the
worker does. When the worker is gone it kills all of them, and ends. It decides nothing else.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from typing import Final

from reactorcide.worker.supervisor import kinship
from reactorcide.worker.supervisor.cgroups import Groups
from reactorcide.worker.supervisor.clock import boot_seconds
from reactorcide.worker.supervisor.group_places import place_for_groups
from reactorcide.worker.supervisor.messages import Ended, Halt, Hold, NotStarted, Start
from reactorcide.worker.supervisor.trees import Trees
from reactorcide.worker.supervisor.wire import Hangup, Received, Wire, close_all

_LONGEST_SECONDS: Final = 1.0
"""Between two looks while something runs: waiting does not count the time of a suspension."""

_AGAIN_SECONDS: Final = 0.01


class _Supervisor:
    def __init__(self, wire: Wire, wakeup: int) -> None:
        self._wire = wire
        self._wakeup = wakeup
        self._trees = Trees(Groups(place_for_groups()))
        self._outputs: dict[int, Sequence[int]] = {}
        """What commands write to, by their trees. Open here as well until the worker knows of an
        end: a pipe's own end would wake it twice before."""
        self._selector = selectors.DefaultSelector()
        self._wanted = selectors.EVENT_READ
        self._selector.register(wire.fileno(), self._wanted)
        self._selector.register(wakeup, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the worker hangs up; then leave nothing."""
        try:
            while True:
                self._turn()
        except Hangup:
            while not self._trees.kill_all():
                time.sleep(_AGAIN_SECONDS)

    def _turn(self) -> None:
        """Wait until there is something to do, and do it. Raises Hangup."""
        ready = {key.fd: events for key, events in self._selector.select(self._pause())}
        events = ready.get(self._wire.fileno(), 0)
        if events & selectors.EVENT_WRITE:
            self._note(is_sent=self._wire.flush())
        if events & selectors.EVENT_READ:
            for received in self._wire.receive():
                self._obey(received)
                self._look()  # a start takes a millisecond if there is much to do
        self._look()

    def _look(self) -> None:
        """Say what has ended, if a child did or something is due."""
        if self._has_child_ended() or self._trees.next_at() <= boot_seconds():
            self._tell(self._trees.look())

    def _has_child_ended(self) -> bool:
        try:
            return bool(os.read(self._wakeup, 4096))
        except BlockingIOError:
            return False

    def _tell(self, ends: Sequence[Ended]) -> None:
        """Say what has ended, all at once, and only then let go of what it wrote to."""
        for ended in ends:
            self._wire.keep(ended)
        if ends:
            self._note(is_sent=self._wire.flush())
        for ended in ends:
            close_all(self._outputs.pop(ended.tree))

    def _say(self, message: NotStarted) -> None:
        self._note(is_sent=self._wire.send(message))

    def _note(self, *, is_sent: bool) -> None:
        """Wait for room in the socket if not all is sent."""
        wanted = selectors.EVENT_READ if is_sent else selectors.EVENT_READ | selectors.EVENT_WRITE
        if wanted != self._wanted:
            self._selector.modify(self._wire.fileno(), wanted)
            self._wanted = wanted

    def _pause(self) -> float | None:
        """Return how long nothing needs to be done unless somebody says so."""
        if self._trees.count == 0:
            return None
        return max(min(self._trees.next_at() - boot_seconds(), _LONGEST_SECONDS), 0)

    def _obey(self, received: Received) -> None:
        match received.message:
            case Start() as request:
                self._start(request, received)
            case Halt(tree=tree, grace_seconds=grace_seconds):
                self._trees.halt(tree, grace_seconds)
            case Hold() as word:
                self._trees.hold(word)
            case _:
                pass  # no worker says it

    def _start(self, request: Start, received: Received) -> None:
        try:
            if request.until > boot_seconds():
                self._trees.start(request, received.descriptors)
                self._outputs[request.tree] = received.descriptors
                return
            self._say(NotStarted(request.tree, None))
        except (OSError, ValueError) as error:
            self._say(NotStarted(request.tree, _reason_of(error)))
        close_all(received.descriptors)


def _reason_of(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"the command could not be started: {error.strerror}{where}"
    return f"the command could not be started: {error}"


def _wakeup_of_children() -> int:
    """Return a descriptor that can be read from when a child has ended."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # A handler, and not SIG_IGN: what is started would inherit that. Who ends this process are
    # its worker's end, and KILL: a system that stops sends TERM to all, and commands may drain.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reading


def main() -> None:
    """Supervise for the worker at the other end of standard input."""
    wakeup = _wakeup_of_children()
    kinship.adopt_orphans()
    end = socket.socket(fileno=os.dup(0))
    _Supervisor(Wire(end), wakeup).serve()


if __name__ == "__main__":
    main()
