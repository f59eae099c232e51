"""The command as a program: started, fed, awaited; and the servers it starts."""

import atexit
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from reactorcide.cli.listening import bind, url_of
from reactorcide.tests.cli.forking import IS_POSSIBLE, Begun, WarmProgram

COMMAND: Final = (sys.executable, "-P", "-m", "reactorcide.cli.main")
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """The command with an environment of its own: nothing of the tester's gets in."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    is_forked: bool = IS_POSSIBLE
    """From a warm program; else it is started as a user would start it."""

    @property
    def environment(self) -> dict[str, str]:
        """All that the command sees."""
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "200"}
        return {**own, "REACTORCIDE_DATA_DIR": str(self.home / "data"), **self.variables}

    def having(self, **variables: str) -> "Program":
        """Return it with more variables, named without their prefix."""
        more = {f"REACTORCIDE_{name}": value for name, value in variables.items()}
        return replace(self, variables={**self.variables, **more})

    def __call__(
        self, *arguments: str, stdin: str | bytes = b"", encoding: str | None = "utf-8"
    ) -> "subprocess.CompletedProcess[Any]":
        """Run it to its end."""
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            with running(self._started(arguments, given.fileno())) as begun:
                code = begun.wait()
        printed = [begun.printed("out"), begun.printed("err")]
        if encoding is None:
            return subprocess.CompletedProcess(arguments, code, *printed)
        texts = [io.TextIOWrapper(io.BytesIO(one), encoding).read() for one in printed]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def json(self, *arguments: str) -> Any:
        """Run it, return what it prints as JSON."""
        done = self(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> "Running":
        """Start it and let it run."""
        with Path(os.devnull).open("rb") as nothing:
            return self._started(arguments, nothing.fileno(), pass_fds)

    def _started(
        self, arguments: tuple[str, ...], stdin: int, pass_fds: tuple[int, ...] = ()
    ) -> "Running":
        if self.is_forked:
            begun = warm_program().begin(arguments, self.environment, stdin, pass_fds)
            return Running(begun)
        return Running(
            subprocess.Popen(
                [*COMMAND, *arguments],
                env=self.environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                process_group=0,
            )
        )


@cache
def warm_program() -> WarmProgram:
    """Return the program that all commands of this session are forked from."""
    warm = WarmProgram((sys.executable, "-P"), {"PATH": os.environ["PATH"]})
    atexit.register(warm.close)
    return warm


class Running:
    """The command while it runs; what it prints is read all the time."""

    def __init__(self, popen: "subprocess.Popen[bytes] | Begun") -> None:
        self.popen = popen
        self.pid = popen.pid
        self._printed: dict[str, bytes] = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("out", popen.stdout), ("err", popen.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def out(self) -> str:
        """What it printed to standard output until now."""
        return self._printed["out"].decode()

    @property
    def err(self) -> str:
        """What it printed to standard error until now."""
        return self._printed["err"].decode()

    def printed(self, name: str) -> bytes:
        """Return what it printed to `out` or `err` until now."""
        return self._printed[name]

    def until(self, condition: Callable[["Running"], object]) -> None:
        """Wait until the condition holds; fail when the program ends before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition(self):
            assert self.popen.poll() is None, (self.popen.returncode, self.err)
            assert time.monotonic() < deadline, self.err
            time.sleep(0.01)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.popen.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end."""
        self.popen.send_signal(number)
        return self.wait()

    def end(self) -> None:
        """Leave nothing of it, whatever became of the test."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self, name: str, pipe: Any) -> None:
        while piece := os.read(pipe.fileno(), 65_536):
            self._printed[name] += piece


@contextmanager
def running(started: Running) -> Iterator[Running]:
    """Lend a running command; nothing of it is left after the block."""
    try:
        yield started
    finally:
        started.end()


@contextmanager
def served(program: Program, listening: socket.socket) -> Iterator[Running]:
    """Serve the API on a socket that the test has bound."""
    number = listening.fileno()
    with running(program.start("serve", "--fd", str(number), pass_fds=(number,))) as api:
        yield api


@contextmanager
def a_socket() -> Iterator[tuple[socket.socket, str]]:
    """Lend a listening socket and its URL."""
    with bind("127.0.0.1", 0) as listening:
        yield listening, url_of(listening)


def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
