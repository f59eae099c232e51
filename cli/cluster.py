"""The files of an embedded server: made, checked, given to whoever it runs as. Starts no server.

A cluster appears whole: it is made beside, then renamed.
"""

import hashlib
import os
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reactorcide.cli.postgres_binaries import EmbeddedPostgresError, PostgresBinaries
from reactorcide.cli.postmaster import socket_file
from reactorcide.cli.run_as import ENVIRONMENT, RunAs

USER: Final = "reactorcide"

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH: Final = 103
BUILTIN_LOCALE_SINCE: Final = 17
LOG_BYTES_KEPT: Final = 8 * 1024 * 1024
TAIL_LINES: Final = 5


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
class Cluster:
    """What stands under `<data dir>/postgres/`. Its methods raise EmbeddedPostgresError."""

    data_dir: Path

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
    def lock(self) -> Path:
        """Return the file that is held while somebody starts or stops the server."""
        return self.home / "lock"

    def make_home(self) -> None:
        """Make the folder that holds all of it."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.home.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataDirError(self.data_dir, error.strerror or str(error)) from error

    def prepare(self, binaries: PostgresBinaries, run_as: RunAs, *, is_durable: bool) -> None:
        """Have data that this server can take: what is there, else a new cluster."""
        self._check_version(binaries)
        self._give_to(run_as)
        if not self.data.exists():
            self._make_data(binaries, run_as, is_durable=is_durable)

    def make_socket_dir(self, run_as: RunAs) -> Path:
        """Make the folder of the server's socket, elsewhere if its path were too long."""
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

    def put_log_aside(self) -> None:
        """Begin a new log once the present one is long."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))

    def password(self) -> str:
        """Return the superuser's."""
        try:
            return (self.home / "password").read_text().strip()
        except OSError as error:
            raise DataDirError(self.home, error.strerror or str(error)) from error

    def failure(self, what: str) -> ServerFailedError:
        """Return the error that says what happened, with what the server said last."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return ServerFailedError(what, self.log, _tail(said))

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

    def _make_data(self, binaries: PostgresBinaries, run_as: RunAs, *, is_durable: bool) -> None:
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
                *(() if is_durable else ("--no-sync",)),
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

    def _write_password(self, run_as: RunAs) -> Path:
        path = self.home / "password"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
            if os.geteuid() == 0:
                os.fchown(descriptor, run_as.owner_uid, run_as.owner_gid)
        return path


def _locale(major: int) -> tuple[str, ...]:
    if major >= BUILTIN_LOCALE_SINCE:
        return ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return ("--locale=C.UTF-8",)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
