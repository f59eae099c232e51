"""The command forked from a program that has imported it: a whole program, but for its imports.

Python's start and the imports are most of what a command costs, and a test calls hundreds. What
is begun here has its own process, environment, standard streams and exit code as any other has;
only what a process list shows of it is the warm program's. It must not know what a command does.

Run as a module this is the warm program: it is asked through the socket that is its standard input.
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import BinaryIO, Final

from reactorcide.cli.main import COMMANDS, main

IS_POSSIBLE: Final = sys.platform == "linux"
"""Elsewhere the system's libraries do not outlive a fork."""

_REQUEST_BYTES: Final = 200_000
_MOST_FILES: Final = 16
_HIGH: Final = 200
"""Descriptors from here on are in nobody's way."""

# What commands import only once they run.
_IMPORTED_LATE: Final = (
    "reactorcide.api.app",
    "reactorcide.cli.client",
    "reactorcide.cli.embedded",
    "reactorcide.cli.serving",
    "reactorcide.cli.working",
    "reactorcide.migrations.runner",
    "yaml",
)


class WarmProgram:
    """Begins commands; ends with its owner, and what it has begun goes on."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """`words` start Python; the module's name comes behind them."""
        self._door, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inside:
            self._popen = subprocess.Popen(
                [*words, "-m", __name__],
                stdin=inside.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def begin(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: int,
        handed_down: Sequence[int] = (),
    ) -> "Begun":
        """Begin a command in a group of its own; what it prints is to be read."""
        (telling, told), (out, to_out), (err, to_err) = os.pipe(), os.pipe(), os.pipe()
        try:
            asked = json.dumps([list(arguments), dict(environment), [0, 1, 2, *handed_down]])
            files = (told, stdin, to_out, to_err, *handed_down)
            socket.send_fds(self._door, [asked.encode()], files)
        finally:
            for file in (told, to_out, to_err):
                os.close(file)
        return Begun(telling, os.fdopen(out, "rb"), os.fdopen(err, "rb"))

    def close(self) -> None:
        """End it."""
        self._door.close()
        self._popen.wait(30)


class Begun:
    """A command that was begun; it is used as a `subprocess.Popen` is."""

    def __init__(self, telling: int, stdout: BinaryIO, stderr: BinaryIO) -> None:
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._telling = telling
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """Return its exit code when it has ended."""
        return self._code(0)

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal while it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _code(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._telling], [], [], seconds)[0]:
            self.returncode = int(self._line())
            os.close(self._telling)
        return self.returncode

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._telling, 1)
            assert piece, "the warm program is dead"
            line += piece
        return line


class _Serving:
    """The warm program's side: it forks as it is asked, and tells how each ended."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._told: dict[int, int] = {}
        self._waking, waking = os.pipe()
        for end in (self._waking, waking):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def next_command(self) -> Sequence[str] | None:
        """Return the arguments, in the command's process; None, in the warm one, at the end."""
        while True:
            door = self._door.fileno()
            ready, _, _ = select.select([door, self._waking], [], [])
            if self._waking in ready:
                os.read(self._waking, 4096)
                self._tell()
            if door in ready:
                text, files, _, _ = socket.recv_fds(self._door, _REQUEST_BYTES, _MOST_FILES)
                if not text:
                    return None
                arguments, environment, places = json.loads(text)
                if self._forked(files):
                    self._become(environment, dict(zip(places, files[1:], strict=True)))
                    return list(map(str, arguments))

    def _forked(self, files: Sequence[int]) -> bool:
        """Fork; return whether this is the child."""
        pid = os.fork()
        if pid:
            self._told[pid] = files[0]
            os.write(files[0], b"%d\n" % pid)
            for file in files[1:]:
                os.close(file)
        return not pid

    def _become(self, environment: Mapping[str, str], files: Mapping[int, int]) -> None:
        """Leave nothing of the warm program's but what it has imported."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        self._door.detach()
        high = {
            place: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _HIGH) for place, file in files.items()
        }
        os.closerange(3, _HIGH)
        for place, file in high.items():
            os.dup2(file, place)
            os.close(file)
        os.environ.clear()
        os.environ.update(environment)

    def _tell(self) -> None:
        """Tell how those ended that have."""
        while self._told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            told = self._told.pop(pid)
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(told)


def _import_all() -> None:
    for at, _ in COMMANDS.values():
        import_module(at.partition(":")[0])
    for name in _IMPORTED_LATE:
        import_module(name)
    gc.collect()
    gc.freeze()  # what is never collected stays shared


def _serve() -> None:
    """Be the warm program; and, forked, a command."""
    with socket.socket(fileno=os.dup(0)) as door:
        _import_all()
        arguments = _Serving(door).next_command()
    if arguments is not None:
        sys.argv[1:] = arguments
        main()


if __name__ == "__main__":
    _serve()
