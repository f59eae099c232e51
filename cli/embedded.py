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
import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from reactorcide.cli.postgres_binaries import (
    EmbeddedPostgresError,
    PostgresBinaries,
    find_binaries,
)
from reactorcide.cli.postmaster import Postmaster, running_postmaster, socket_file
from reactorcide.cli.run_as import ENVIRONMENT, WAYS, RunAs, Way, choose_run_as

USER: Final = "reactorcide"
DATABASE: Final = "postgres"

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH: Final = 103
BUILTIN_LOCALE_SINCE: Final = 17
POLL_SECONDS: Final = 0.02
LOG_BYTES_KEPT: Final = 8 * 1024 * 1024
TAIL_LINES: Final = 5

# For a small machine that also runs the API and a worker.
SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "synchronous_commit": "on",
    "wal_compression": "on",
    # A queue's rows come and go by the thousands each second: a minute is long.
    "autovacuum_naptime": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Who starts a server is its parent and has to reap it, though the server outlives the object.
_children: Final[dict[int, subprocess.Popen[bytes]]] = {}


class ServerFailedError(EmbeddedPostgresError):
    """The server did not start, or did not stop. `tail` are the last lines it said."""

    def __init__(self, what: str, log: Path, tail: str) -> None:
        super().__init__(f"the embedded PostgreSQL {what} (see {log}): {tail}")
        self.what = what
        self.log = log
        self.tail = tail


class DataVersionError(EmbeddedPostgresError):
    """The data were made by another major version."""

    def __init__(self, data: Path, data_major: int, server_major: int) -> None:
        super().__init__(
            f"the data in {data} are of PostgreSQL {data_major}, the server here is "
            f"{server_major}: dump them with the old one, or choose another REACTORCIDE_DATA_DIR"
        )
        self.data = data
        self.data_major = data_major
        self.server_major = server_major


class DataDirError(EmbeddedPostgresError):
    """The data directory cannot be used by us."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"cannot keep PostgreSQL's data in {path}: {why}")
        self.path = path
        self.why = why


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
        return self.data_dir / "postgres"

    @property
    def data(self) -> Path:
        """Return the cluster's folder."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """Return the file with what the server says."""
        return self.home / "server.log"

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
        self._make_home()
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
        raise self._failure("did not stop")

    # -- making -------------------------------------------------------------------------------

    def _make_home(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.home.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataDirError(self.data_dir, error.strerror or str(error)) from error

    def _start_server(self, deadline: float) -> Postmaster:
        binaries = self.binaries or find_binaries()
        run_as = choose_run_as(binaries.postgres, self.ways)
        self._check_version(binaries)
        self._give_to(run_as)
        if not self.data.exists():
            self._make_cluster(binaries, run_as)
        while True:
            ready = self._wait_until_ready(deadline, self._launch(binaries, run_as))
            if ready is not None:
                return ready
            failure = self._failure("did not start")
            # Backends of a server killed with -9 end within moments; until then they hold its
            # shared memory.
            if "shared memory" not in failure.tail:
                raise failure
            time.sleep(POLL_SECONDS)

    def _check_version(self, binaries: PostgresBinaries) -> None:
        try:
            data_major = int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return
        except (PermissionError, ValueError) as error:
            raise DataDirError(self.data, str(error)) from error
        if data_major != binaries.major:
            raise DataVersionError(self.data, data_major, binaries.major)

    def _give_to(self, run_as: RunAs) -> None:
        """Make the files belong to whoever the server runs as."""
        owner = self.home.stat().st_uid
        if owner == run_as.owner_uid:
            return
        if os.geteuid() != 0:
            raise DataDirError(self.home, f"it belongs to user {owner}")
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, run_as.owner_uid, run_as.owner_gid, follow_symlinks=False)

    def _make_cluster(self, binaries: PostgresBinaries, run_as: RunAs) -> None:
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        password = self._write_password(run_as)
        made = subprocess.run(  # noqa: S603 - a program we found, no shell
            run_as.command(
                binaries.initdb,
                f"--pgdata={draft}",
                f"--username={USER}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                *_locale(binaries.major),
                *(() if self._is_durable else ("--no-sync",)),
            ),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if made.returncode != 0:
            said = made.stdout.decode(errors="replace")
            self.log.write_text(said)
            raise ServerFailedError("could not be set up", self.log, _tail(said))
        draft.rename(self.data)

    @property
    def _is_durable(self) -> bool:
        return self.settings.get("fsync", "on") == "on"

    def _write_password(self, run_as: RunAs) -> Path:
        path = self.home / "password"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
            if os.geteuid() == 0:
                os.fchown(descriptor, run_as.owner_uid, run_as.owner_gid)
        return path

    # -- running ------------------------------------------------------------------------------

    def _launch(self, binaries: PostgresBinaries, run_as: RunAs) -> subprocess.Popen[bytes]:
        # A stale file whose number another process has by now would keep the server from starting.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._make_socket_dir(run_as)),
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
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

    def _make_socket_dir(self, run_as: RunAs) -> Path:
        path = self.home.resolve() / "socket"
        if len(os.fsencode(socket_file(path))) > LONGEST_SOCKET_PATH:
            name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            path = Path("/tmp") / f"reactorcide-{run_as.owner_uid}-{name}"  # noqa: S108 - checked below
        path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, run_as.owner_uid, run_as.owner_gid, follow_symlinks=False)
        found = path.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == run_as.owner_uid
        if not is_ours or found.st_mode & 0o077:
            raise DataDirError(path, "somebody else has made or opened the socket's folder")
        return path

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
            raise self._failure(what)
        _reap()
        time.sleep(POLL_SECONDS)

    def _uri(self, ready: Postmaster) -> str:
        try:
            password = (self.home / "password").read_text().strip()
        except OSError as error:
            raise DataDirError(self.home, error.strerror or str(error)) from error
        host = quote(str(ready.socket_dir), safe="")
        return f"postgresql://{USER}:{password}@/{DATABASE}?host={host}"

    def _failure(self, what: str) -> ServerFailedError:
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return ServerFailedError(what, self.log, _tail(said))

    @contextlib.contextmanager
    def _lock(self, deadline: float) -> Iterator[None]:
        with (self.home / "lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._failure("is being started or stopped by another") from None
                    time.sleep(POLL_SECONDS)
                else:
                    break
            yield


def _reap() -> None:
    """Take note of servers of ours that ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def _locale(major: int) -> tuple[str, ...]:
    if major >= BUILTIN_LOCALE_SINCE:
        return ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return ("--locale=C.UTF-8",)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
