"""One PostgreSQL server for a whole test session, shared by its xdist workers.

The session's folder carries the number of the process that made it, so that the next session
can stop and remove what a killed one left behind.
"""

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postgres_binaries import binaries_in
from reactorcide.migrations.runner import migrate_up

PREFIX: Final = "reactorcide-tests-"
TEMPLATE: Final = "migrated"

# One database for each of hundreds of tests: 15 ms in memory, 300 ms on a slow disk.
MEMORY: Final = Path("/dev/shm")  # noqa: S108  its folders are made by mkdtemp
MEMORY_BYTES: Final = 2 * 1024**3

CREATE: Final = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
# To prove a password costs both ends four milliseconds, and a test connects ten times. The only
# door is a socket in a folder that nobody else may enter.
TRUST: Final = "local all all trust\n"
DROP: Final = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")

# Nothing here has to survive a power cut. A deadlock shows itself soon.
SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "max_connections": "300",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "deadlock_timeout": "200ms",
    "timezone": "UTC",
}


class TestServer:
    """The session's server; `folder` is all that its users need to agree on."""

    __test__ = False

    def __init__(self, folder: Path, bin_dir: str | None) -> None:
        binaries = binaries_in(Path(bin_dir)) if bin_dir else None
        self._postgres = EmbeddedPostgres(folder, binaries, SETTINGS)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._uri: str | None = None
        self._admin: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def uri(self) -> str:
        """Start the server and make the template database, once in the session; return the URI."""
        if self._uri is None:
            uri = self._postgres.start()
            with _locked(self._folder / "template.lock"):
                _make_template(uri, self._postgres.data)
            self._uri = uri
        return self._uri

    @contextmanager
    def new_database(self, template: str = TEMPLATE) -> Iterator[str]:
        """Lend a database made from the template (`template1`: an empty one); return its URI."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        admin = self._connected()
        admin.execute(CREATE.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield database_uri(self.uri, name)
        finally:
            admin.execute(DROP.format(sql.Identifier(name)))

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._admin is None:
            self._admin = psycopg.connect(self.uri, autocommit=True)
        return self._admin

    def leave(self) -> None:
        """Need it no more; others may."""
        if self._admin is not None:
            self._admin.close()

    def stop(self) -> None:
        """Stop the server if anybody started it, and remove the folder."""
        self.leave()
        self._postgres.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def database_uri(server_uri: str, name: str) -> str:
    """Return the URI of another database of the same server."""
    return urlunsplit(urlsplit(server_uri)._replace(path=f"/{name}"))


def new_session_folder() -> Path:
    """Make the folder of this session; clear those of sessions that are dead."""
    root = roomy_root()
    for folder in root.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdecimal() and folder.stat().st_uid == os.geteuid() and not _is_alive(int(pid)):
            EmbeddedPostgres(folder).stop()
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))


def roomy_root() -> Path:
    """Return where databases of tests are kept: memory, or the folder for passing files."""
    is_roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if is_roomy else Path(tempfile.gettempdir())


def _make_template(uri: str, cluster: Path) -> None:
    with psycopg.connect(uri, autocommit=True) as admin:
        known = admin.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone()
        if known is not None:
            return
        (cluster / "pg_hba.conf").write_text(TRUST)
        admin.execute("SELECT pg_reload_conf()")
        # Under another name until it is whole.
        admin.execute("DROP DATABASE IF EXISTS draft")
        admin.execute("CREATE DATABASE draft")
        migrate_up(database_uri(uri, "draft"))
        admin.execute(sql.SQL("ALTER DATABASE draft RENAME TO {}").format(sql.Identifier(TEMPLATE)))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
