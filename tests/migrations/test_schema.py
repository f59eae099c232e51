"""A schema that is not this version's is noticed, and told how it differs."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from reactorcide.migrations.runner import (
    migrate_down,
    migrate_up,
)
from reactorcide.migrations.schema import (
    DatabaseUnreachableError,
    MigrationEditedError,
    SchemaAheadError,
    SchemaBehindError,
    check_schema,
    digests,
    status,
)

IDS: Final = tuple(digests())


async def test_a_schema_of_this_version_passes(database_uri: str) -> None:
    """Nothing is raised, and every migration has its time."""
    await check_schema(database_uri)
    rows = await status(database_uri)
    assert [row.migration_id for row in rows] == list(IDS)
    assert all(row.applied_at and row.is_known and not row.is_edited for row in rows)


async def test_an_empty_database_is_behind(empty_database_uri: str) -> None:
    """The text tells what to run."""
    with pytest.raises(SchemaBehindError, match="reactorcide migrate up") as caught:
        await check_schema(empty_database_uri)
    assert caught.value.missing == IDS
    assert all(row.applied_at is None for row in await status(empty_database_uri))


async def test_an_older_schema_is_behind(empty_database_uri: str, files: Path) -> None:
    """One file not applied is enough."""
    migrate_up(empty_database_uri, files)
    migrate_down(empty_database_uri, directory=files)
    with pytest.raises(SchemaBehindError) as caught:
        await check_schema(empty_database_uri, files)
    assert caught.value.missing == ("0002.two",)


async def test_a_newer_schema_is_ahead(
    empty_database_uri: str, files: Path, tmp_path: Path
) -> None:
    """An old program neither runs on it, nor migrates it."""
    migrate_up(empty_database_uri, files)
    older = tmp_path / "older"
    shutil.copytree(files, older)
    (older / "0002.two.sql").unlink()
    with pytest.raises(SchemaAheadError, match="older") as caught:
        await check_schema(empty_database_uri, older)
    assert caught.value.unknown == ("0002.two",)
    with pytest.raises(SchemaAheadError):
        migrate_up(empty_database_uri, older)
    assert [row.is_known for row in await status(empty_database_uri, older)] == [True, False]


async def test_an_edited_file_does_not_pass(empty_database_uri: str, files: Path) -> None:
    """The check at a program's start says what the runner says."""
    migrate_up(empty_database_uri, files)
    (files / "0001.one.sql").write_text("CREATE TABLE one (n bigint);")
    with pytest.raises(MigrationEditedError):
        await check_schema(empty_database_uri, files)
    assert [row.is_edited for row in await status(empty_database_uri, files)] == [True, False]


@pytest.mark.parametrize("uri", ["postgresql:///x?host=/nowhere", "http://x", "postgresql://:x/y"])
async def test_a_check_without_a_database_says_so(uri: str) -> None:
    """Whatever the driver raises for it."""
    with pytest.raises(DatabaseUnreachableError):
        await check_schema(uri)
