"""A PostgreSQL server of our own in a data directory: start, adopt, stop. Knows no schema.

All of it is under `<data dir>/postgres/`:

    data/        the cluster            socket/      its only door (0700), no TCP
    password     of the superuser, 0600 server.log   what the server says
    lock         held while somebody starts or stops it

The server outlives whoever started it: the next start finds it through `postmaster.pid` and
adopts it. A server or a caller killed with -9 at any point loses nothing: a cluster appears
whole (made beside, then renamed), and crash recovery is PostgreSQL's own.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from reactorcide.cli.cluster import USER, Cluster
from reactorcide.cli.postgres_binaries import PostgresBinaries, find_binaries
from reactorcide.cli.postmaster import Postmaster, running_postmaster
from reactorcide.cli.run_as import ENVIRONMENT, WAYS, RunAs, Way, choose_run_as

DATABASE: Final = "postgres"

POLL_SECONDS: Final = 0.02

# For a small machine that also runs the API and a worker.
SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "synchronous_commit": "on",
    # A queue's rows come and go by the thousands each second: a minute is long.
    "autovacuum_naptime": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Who starts a server is its parent and has to reap it, though the server outlives the object.
_children: Final[dict[int, subprocess.Popen[bytes]]] = {}


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """The server of one data directory. Every method may be called from any process, and blocks.

    `binaries` None: found when the server has to be started. `ways`: how root may run it.
    """

    data_dir: Path
    binaries: PostgresBinaries | None = None
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    ways: tuple[Way, ...] = WAYS
    start_seconds: float = 120  # crash recovery included
    stop_seconds: float = 60

    @property
    def home(self) -> Path:
        """Return the folder that holds all of it."""
        return self._cluster.home

    @property
    def data(self) -> Path:
        """Return the cluster's folder."""
        return self._cluster.data

    @property
    def log(self) -> Path:
        """Return the file with what the server says."""
        return self._cluster.log

    @property
    def is_running(self) -> bool:
        """A server runs on these data, ready or not."""
        return running_postmaster(self.data) is not None

    def start(self) -> str:
        """Make the cluster if there is none, start the server if none runs; return its URI.

        Safe from many processes at once: one starts it, the others adopt it.
        Raises EmbeddedPostgresError.
        """
        deadline = time.monotonic() + self.start_seconds
        self._cluster.make_home()
        with self._lock(deadline):
            ready = self._adopt(deadline) or self._start_server(deadline)
        return self._uri(ready)

    def stop(self) -> None:
        """Stop the server if one runs, open transactions rolled back. Raises ServerFailedError."""
        if not self.home.exists():
            return
        deadline = time.monotonic() + self.stop_seconds
        with self._lock(deadline):
            for order in (signal.SIGINT, signal.SIGQUIT):  # fast, then at once: both lose nothing
                running = running_postmaster(self.data)
                if running is None:
                    return
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, order)
                if self._wait_until_gone(running, deadline):
                    return
                deadline = time.monotonic() + self.stop_seconds
        raise self._cluster.failure("did not stop")

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self.data_dir)

    def _start_server(self, deadline: float) -> Postmaster:
        binaries = self.binaries or find_binaries()
        run_as = choose_run_as(binaries.postgres, self.ways)
        is_durable = self.settings.get("fsync", "on") == "on"
        self._cluster.prepare(binaries, run_as, is_durable=is_durable)
        while True:
            ready = self._wait_until_ready(deadline, self._launch(binaries, run_as))
            if ready is not None:
                return ready
            failure = self._cluster.failure("did not start")
            # Backends of a server killed with -9 end within moments; until then they hold its
            # shared memory.
            if "shared memory" not in failure.tail:
                raise failure
            time.sleep(POLL_SECONDS)

    def _launch(self, binaries: PostgresBinaries, run_as: RunAs) -> subprocess.Popen[bytes]:
        # A stale file whose number another process has by now would keep the server from starting.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._cluster.make_socket_dir(run_as)),
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        self._cluster.put_log_aside()
        with self.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - a program we found, no shell
                run_as.command(
                    binaries.postgres,
                    "-D",
                    self.data.resolve(),
                    *(f"--{name}={value}" for name, value in options.items()),
                ),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is not for the server
            )
        _children[child.pid] = child
        return child

    def _adopt(self, deadline: float) -> Postmaster | None:
        """Return the server that runs, once it is ready; None when none does, or not any more."""
        while (running := running_postmaster(self.data)) and running.status == "stopping":
            self._pause(deadline, "did not finish stopping")
        return self._wait_until_ready(deadline, None) if running else None

    def _wait_until_ready(
        self, deadline: float, child: subprocess.Popen[bytes] | None
    ) -> Postmaster | None:
        """Return the server when it takes connections, None when it has ended."""
        while True:
            has_ended = child is None or child.poll() is not None
            running = running_postmaster(self.data)
            if running is None and has_ended:
                return None
            if running is not None and running.answers():
                return running
            self._pause(deadline, "was not ready in time")

    def _wait_until_gone(self, postmaster: Postmaster, deadline: float) -> bool:
        while (running := running_postmaster(self.data)) and running.pid == postmaster.pid:
            if time.monotonic() > deadline:
                return False
            _reap()
            time.sleep(POLL_SECONDS)
        _reap()
        return True

    def _pause(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise self._cluster.failure(what)
        _reap()
        time.sleep(POLL_SECONDS)

    def _uri(self, ready: Postmaster) -> str:
        host = quote(str(ready.socket_dir), safe="")
        return f"postgresql://{USER}:{self._cluster.password()}@/{DATABASE}?host={host}"

    @contextlib.contextmanager
    def _lock(self, deadline: float) -> Iterator[None]:
        with self._cluster.lock.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._cluster.failure(
                            "is being started or stopped by another"
                        ) from None
                    time.sleep(POLL_SECONDS)
                else:
                    break
            yield


def _reap() -> None:
    """Take note of servers of ours that ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
