"""Apply and roll back the schema's files with yoyo. Blocks; knows nothing of what they make.

What yoyo leaves open is closed here:

* Many processes at once: one advisory lock, polled. A waiting `pg_advisory_lock()` would hold a
  snapshot that CREATE INDEX CONCURRENTLY waits for, for ever. yoyo's own lock is a row that a
  kill -9 leaves behind; under our lock nobody else can hold it, so it is broken first.
* A migration, its mark and its digest are one transaction: a crash leaves all or nothing.
  (One with `-- transactional: false` must be written so that it can run again.)
* An edited file is noticed by its digest; yoyo hashes the name alone.
* The user and host names that yoyo notes are asked for in a way that cannot fail or hang.
* Rows of a SELECT in a file would land on standard output; they go to standard error.
"""

import contextlib
import getpass
import glob
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.exceptions import BadMigration
from yoyo.migrations import Migration, MigrationList, default_migration_table

from reactorcide.migrations.schema import (
    APPLIED_SQL,
    DIRECTORY,
    Applied,
    DatabaseUnreachableError,
    MigrationError,
    check_applied,
    digests,
)

LOCK_KEY: Final = 7_308_604_759_847_527_268  # "reactord" as a number; any constant serves
LOCK_POLL_SECONDS: Final = 0.2
LOCK_SECONDS: Final = 900.0
CONNECT_SECONDS: Final = 10
PREPARING: Final = "(keeping count)"

TRY_LOCK_SQL: Final = "SELECT pg_try_advisory_lock(%s)"

CREATE_CHECKSUMS_SQL: Final = """
CREATE TABLE IF NOT EXISTS migration_checksums (migration_id text PRIMARY KEY, sha256 text NOT NULL)
"""

NOTE_CHECKSUM_SQL: Final = """
INSERT INTO migration_checksums (migration_id, sha256) VALUES (%s, %s)
ON CONFLICT (migration_id) DO UPDATE SET sha256 = excluded.sha256
"""

FORGET_CHECKSUM_SQL: Final = "DELETE FROM migration_checksums WHERE migration_id = %s"


class MigrationFailedError(MigrationError):
    """PostgreSQL or yoyo refused a file. Those before it are applied, this one is not."""

    def __init__(self, migration_id: str, detail: str) -> None:
        super().__init__(f"migration {migration_id} failed: {detail}")
        self.migration_id = migration_id
        self.detail = detail


class MigrationLockError(MigrationError):
    """Somebody else has been migrating this database for too long."""

    def __init__(self, waited_seconds: float) -> None:
        super().__init__(
            f"another process has been migrating this database for {waited_seconds:.0f} seconds"
        )
        self.waited_seconds = waited_seconds


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's backend, with names that are always to be had."""

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, Any]:
        """Return the row of yoyo's log, asking neither the password file nor the DNS."""
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": _user_name(),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def migrate_up(uri: str, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Apply what is not applied yet; return the ids, none when all was there.

    Safe from many processes at once. Raises MigrationError's kinds: an edited file or an unknown
    migration before anything is changed, a failed one with those before it applied.
    """
    with _migrating(uri) as backend:
        files = digests(directory)
        check_applied(files, _applied(backend))
        missing = _in_order(backend.to_apply(_read(directory)))
        for migration in missing:
            _run(backend, migration, "apply", files[migration.id])
        left = _in_order(backend.to_apply(_read(directory)))
        if left:
            raise MigrationFailedError(left[0].id, "it is not applied, and nobody said why")
    return tuple(migration.id for migration in missing)


def migrate_down(uri: str, steps: int = 1, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Roll back the newest `steps` migrations, newest first; return their ids.

    Raises MigrationError's kinds, as migrate_up does.
    """
    with _migrating(uri) as backend:
        files = digests(directory)
        check_applied(files, _applied(backend))
        newest = _in_order(backend.to_rollback(_read(directory)))[::-1][:steps]
        for migration in newest:
            _run(backend, migration, "rollback", files[migration.id])
    return tuple(migration.id for migration in newest)


@contextlib.contextmanager
def _migrating(uri: str) -> Iterator[_Backend]:
    """Hold the lock, and yoyo's backend ready to work under it."""
    arguments = _connection_arguments(uri)
    try:
        with psycopg.connect(**arguments, autocommit=True) as gate:
            _take_lock(gate)
            with (
                contextlib.redirect_stdout(sys.stderr),
                _Backend(_database_uri(arguments), default_migration_table) as backend,
            ):
                backend.init_database()
                backend.break_lock()
                backend.ensure_internal_schema_updated()
                backend.execute(CREATE_CHECKSUMS_SQL)
                yield backend
    except psycopg.OperationalError as error:
        raise DatabaseUnreachableError(_one_line(error)) from error
    except psycopg.Error as error:
        raise MigrationFailedError(PREPARING, _one_line(error)) from error


def _take_lock(gate: psycopg.Connection[tuple[Any, ...]]) -> None:
    started = time.monotonic()
    while not _is_taken(gate):
        waited = time.monotonic() - started
        if waited > LOCK_SECONDS:
            raise MigrationLockError(waited)
        time.sleep(LOCK_POLL_SECONDS)


def _is_taken(gate: psycopg.Connection[tuple[Any, ...]]) -> bool:
    row = gate.execute(TRY_LOCK_SQL, (LOCK_KEY,)).fetchone()
    return row is not None and bool(row[0])


def _run(backend: _Backend, migration: Migration, direction: str, sha256: str) -> None:
    """Apply or roll back one file, with its mark and digest."""
    try:
        migration.load()
        if migration.use_transactions:
            with backend.transaction():
                migration.process_steps(backend, direction)
                _mark(backend, migration, direction, sha256)
        else:
            migration.process_steps(backend, direction)
            with backend.transaction():
                _mark(backend, migration, direction, sha256)
    except (psycopg.Error, BadMigration) as error:
        raise MigrationFailedError(migration.id, _one_line(error)) from error


def _mark(backend: _Backend, migration: Migration, direction: str, sha256: str) -> None:
    if direction == "apply":
        backend.mark_one(migration, log=False)
        backend.cursor().execute(NOTE_CHECKSUM_SQL, (migration.id, sha256))
    else:
        backend.unmark_one(migration, log=False)
        backend.cursor().execute(FORGET_CHECKSUM_SQL, (migration.id,))
    backend.log_migration(migration, direction)


def _applied(backend: _Backend) -> list[Applied]:
    return [Applied(*row) for row in backend.execute(APPLIED_SQL).fetchall()]


def _read(directory: Path) -> MigrationList:
    # The modules of this package lie beside the files, and yoyo takes .py for migrations too.
    found = read_migrations(glob.escape(str(directory)))
    return found.filter(lambda migration: migration.is_raw_sql())


def _in_order(migrations: MigrationList) -> list[Migration]:
    return sorted(migrations, key=lambda migration: str(migration.id))


def _connection_arguments(uri: str) -> dict[str, Any]:
    """Take the URI apart as libpq does: yoyo's own reading knows no socket directories."""
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", uri)
    try:
        arguments = dict(conninfo_to_dict(plain))
    except psycopg.ProgrammingError as error:
        raise DatabaseUnreachableError(_one_line(error)) from error
    return {"connect_timeout": CONNECT_SECONDS, **arguments}


def _database_uri(arguments: dict[str, Any]) -> DatabaseURI:
    return DatabaseURI(
        scheme="postgresql+psycopg",
        username=None,
        password=None,
        hostname=None,
        port=None,
        database=arguments.get("dbname"),
        args={key: value for key, value in arguments.items() if key != "dbname"},
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return str(os.getuid())


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines) or type(error).__name__
