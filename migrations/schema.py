"""What is applied, held against the files of this version. Reads only; changes no schema.

Without yoyo and its driver, so that every process may ask at its start.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

DIRECTORY: Final = Path(__file__).parent

# Without the tables that keep count, nothing is applied.
HAS_TABLES_SQL: Final = """
SELECT to_regclass('_yoyo_migration') IS NOT NULL AND to_regclass('migration_checksums') IS NOT NULL
"""

# yoyo's mark beside the digest of the file as it was then.
APPLIED_SQL: Final = """
SELECT migration_id, applied_at_utc AT TIME ZONE 'UTC' AS applied_at, sha256
FROM _yoyo_migration LEFT JOIN migration_checksums USING (migration_id)
ORDER BY migration_id
"""


class MigrationError(Exception):
    """Why the schema is not as this version needs it, or could not be made so."""


class SchemaBehindError(MigrationError):
    """Migrations of this version are not applied."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"the database's schema is older than this version ({len(missing)} migrations from "
            f"{missing[0]} on are missing): run `reactorcide migrate up`"
        )
        self.missing = tuple(missing)


class SchemaAheadError(MigrationError):
    """Migrations are applied that this version does not know."""

    def __init__(self, unknown: Sequence[str]) -> None:
        super().__init__(
            f"this version of reactorcide is older than the database's schema (it has "
            f"{', '.join(unknown)}): install the newer version"
        )
        self.unknown = tuple(unknown)


class MigrationEditedError(MigrationError):
    """A file was changed after it was applied: the schema is not what the file says."""

    def __init__(self, migration_id: str) -> None:
        super().__init__(
            f"migration {migration_id} was edited after it was applied to this database: restore "
            "the file and put the change into a new migration"
        )
        self.migration_id = migration_id


class DatabaseUnreachableError(MigrationError):
    """No connection to the database, or it was lost."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"cannot reach the database: {detail}")
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as the database has it. `sha256` None: it was never noted."""

    migration_id: str
    applied_at: datetime
    sha256: str | None


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration: `applied_at` None when it is not applied, `is_known` when we have its file."""

    migration_id: str
    applied_at: datetime | None
    is_known: bool
    is_edited: bool


async def check_schema(uri: str, directory: Path = DIRECTORY) -> None:
    """Hold the schema against this version.

    Raises SchemaBehindError, SchemaAheadError, MigrationEditedError, DatabaseUnreachableError.
    """
    files = digests(directory)
    applied = await _applied(uri)
    check_applied(files, applied)
    missing = sorted(files.keys() - {row.migration_id for row in applied})
    if missing:
        raise SchemaBehindError(missing)


async def status(uri: str, directory: Path = DIRECTORY) -> list[MigrationStatus]:
    """Return every migration of the files and of the database, in order of application.

    Raises DatabaseUnreachableError.
    """
    files = digests(directory)
    applied = {row.migration_id: row for row in await _applied(uri)}
    return [
        MigrationStatus(
            migration_id=migration_id,
            applied_at=row.applied_at if (row := applied.get(migration_id)) else None,
            is_known=migration_id in files,
            is_edited=row is not None and _is_edited(files, row),
        )
        for migration_id in sorted(files.keys() | applied.keys())
    ]


def digests(directory: Path = DIRECTORY) -> dict[str, str]:
    """Return the SHA-256 of each migration's file by its id, in order."""
    return {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.glob("*.sql"))
        if not path.name.endswith(".rollback.sql")
    }


def check_applied(files: Mapping[str, str], applied: Sequence[Applied]) -> None:
    """Hold what is applied against the files; what is not applied yet is no concern here.

    Raises SchemaAheadError or MigrationEditedError.
    """
    unknown = [row.migration_id for row in applied if row.migration_id not in files]
    if unknown:
        raise SchemaAheadError(unknown)
    for row in applied:
        if _is_edited(files, row):
            raise MigrationEditedError(row.migration_id)


def _is_edited(files: Mapping[str, str], row: Applied) -> bool:
    return row.sha256 is not None and files.get(row.migration_id, row.sha256) != row.sha256


async def _applied(uri: str) -> list[Applied]:
    try:
        connection = await asyncpg.connect(uri)
        try:
            if not await connection.fetchval(HAS_TABLES_SQL):
                return []
            return [Applied(*row) for row in await connection.fetch(APPLIED_SQL)]
        finally:
            await connection.close()
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachableError(str(error) or type(error).__name__) from error
