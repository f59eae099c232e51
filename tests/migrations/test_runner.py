"""The schema goes up and down, from many processes, and is noticed when it is not ours."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pytest

from reactorcide.migrations.runner import (
    LOCK_KEY,
    MigrationFailedError,
    MigrationLockError,
    migrate_down,
    migrate_up,
)
from reactorcide.migrations.schema import (
    DIRECTORY,
    DatabaseUnreachableError,
    MigrationEditedError,
    digests,
)

IDS: Final = tuple(digests())

MIGRATE: Final = """
import sys
from pathlib import Path
from reactorcide.migrations.runner import migrate_up
print(*migrate_up(sys.argv[1], Path(sys.argv[2])))
"""

# Everything a migration can make in the schema, as text, without the tables that keep count.
SHAPE_SQL: Final = r"""
SELECT * FROM (
    SELECT 'column', c.oid::regclass::text, a.attname,
        format_type(a.atttypid, a.atttypmod) || a.attnotnull
            || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
            || coalesce(nullif(a.attstattarget, -1)::text, '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'S', 'p') AND a.attnum > 0 AND c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'rights', oid::regclass::text, relkind::text,
        coalesce(relacl::text, '') || coalesce(reloptions::text, '')
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'p')
    UNION ALL
    SELECT 'partition', inhrelid::regclass::text, inhparent::regclass::text,
        pg_get_partkeydef(inhparent) || pg_get_expr(relpartbound, oid)
    FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind IN ('r', 'p')
    UNION ALL
    SELECT 'index', indexrelid::regclass::text, '', pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) || tgenabled::text
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function', oid::regprocedure::text, '', pg_get_functiondef(oid)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS shape (kind, thing, part, definition)
WHERE thing !~ '^(_yoyo|yoyo_|migration_checksums)'
ORDER BY kind, thing, part, definition
"""


def shape(uri: str) -> list[tuple[str, ...]]:
    """Read what the migrations made."""
    with psycopg.connect(uri) as connection:
        return connection.execute(SHAPE_SQL).fetchall()


def migrating(uri: str, directory: Path) -> "subprocess.Popen[str]":
    """Start a process that migrates and prints the ids it applied."""
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE, uri, directory],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(DIRECTORY.parent / ".ns")},
    )


def test_up_applies_every_file_once(empty_database_uri: str) -> None:
    """The second time there is nothing left to do."""
    assert migrate_up(empty_database_uri) == IDS
    assert migrate_up(empty_database_uri) == ()


def test_down_to_nothing_leaves_nothing_and_up_again_the_same(empty_database_uri: str) -> None:
    """Every rollback undoes its file, and no file needs what a rollback left."""
    migrate_up(empty_database_uri)
    first = shape(empty_database_uri)
    assert migrate_down(empty_database_uri, steps=len(IDS)) == IDS[::-1]
    assert shape(empty_database_uri) == []
    assert migrate_up(empty_database_uri) == IDS
    assert shape(empty_database_uri) == first


def test_down_takes_the_newest_first(empty_database_uri: str) -> None:
    """One step is one file."""
    migrate_up(empty_database_uri)
    assert migrate_down(empty_database_uri) == IDS[-1:]
    assert migrate_up(empty_database_uri) == IDS[-1:]


def test_eight_processes_at_once_apply_each_file_once(empty_database_uri: str) -> None:
    """Who comes second waits, and then finds nothing to do."""
    running = [migrating(empty_database_uri, DIRECTORY) for _ in range(8)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0] * 8
    assert sorted(said) == [""] * 7 + [" ".join(IDS)]


def test_an_index_built_concurrently_does_not_wait_for_those_who_wait(
    empty_database_uri: str, files: Path
) -> None:
    """A waiting process holds no snapshot (a blocking lock function would, for ever)."""
    (files / "0003.index.sql").write_text(
        "-- depends: 0002.two\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS ones ON one (n);"
    )
    running = [migrating(empty_database_uri, files) for _ in range(3)]
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0] * 3


def test_a_lock_that_a_killed_process_left_is_broken(empty_database_uri: str) -> None:
    """Yoyo's lock is a row; ours went with the connection."""
    migrate_up(empty_database_uri)
    with psycopg.connect(empty_database_uri) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, pid) VALUES (1, 99999999)")
    assert migrate_up(empty_database_uri) == ()


def test_waiting_for_another_migration_has_an_end(
    empty_database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs while it migrates does not hang all others."""
    monkeypatch.setattr("reactorcide.migrations.runner.LOCK_SECONDS", 0.1)
    with psycopg.connect(empty_database_uri, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        with pytest.raises(MigrationLockError) as caught:
            migrate_up(empty_database_uri)
    assert caught.value.waited_seconds >= 0.1


def test_a_file_that_fails_leaves_those_before_it(empty_database_uri: str, files: Path) -> None:
    """Neither a part of it nor its mark stays, and it can be tried again."""
    broken = files / "0002.two.sql"
    sound = broken.read_text()
    broken.write_text(f"{sound} DROP TABLE nowhere;")
    with pytest.raises(MigrationFailedError, match="nowhere") as caught:
        migrate_up(empty_database_uri, files)
    assert caught.value.migration_id == "0002.two"
    assert {row[1] for row in shape(empty_database_uri)} == {"one"}
    broken.write_text(sound)
    assert migrate_up(empty_database_uri, files) == ("0002.two",)


def test_a_file_edited_after_it_was_applied_is_refused(
    empty_database_uri: str, files: Path
) -> None:
    """The schema is not what the file says, and nothing is changed on top of that."""
    migrate_up(empty_database_uri, files)
    (files / "0001.one.sql").write_text("CREATE TABLE one (n bigint);")
    for act in (migrate_up, migrate_down):
        with pytest.raises(MigrationEditedError, match="edited") as caught:
            act(empty_database_uri, directory=files)
        assert caught.value.migration_id == "0001.one"


def test_rows_that_a_file_selects_are_no_output_of_ours(
    empty_database_uri: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is for data."""
    (files / "0001.one.sql").write_text("SELECT 'loud';")
    migrate_up(empty_database_uri, files)
    assert capsys.readouterr().out == ""


def test_a_user_without_a_name_may_migrate(
    empty_database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container a process may run as a number that no file knows."""

    def nobody_knows() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody_knows)
    assert migrate_up(empty_database_uri) == IDS


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_a_uri_leads_there(empty_database_uri: str, scheme: str) -> None:
    """Socket folders in the query, in the host's place, and as words."""
    parts = urlsplit(empty_database_uri)
    folder = parse_qs(parts.query)["host"][0]
    name = parts.path[1:]
    login = f"user={parts.username}&password={parts.password}"
    in_query = f"{scheme}:///{name}?host={unquote(folder)}&{login}"
    in_host_place = f"{scheme}://{folder.replace('/', '%2F')}/{name}?{login}"
    assert migrate_up(in_host_place) == IDS
    assert migrate_up(in_query) == ()


def test_a_uri_that_is_none_is_said_to_be_none() -> None:
    """No traceback of a driver for a slip of the pen."""
    with pytest.raises(DatabaseUnreachableError):
        migrate_up("postgresql://host:port/database?what=ever")


def test_a_database_that_is_down_is_said_to_be_down(tmp_path: Path) -> None:
    """One error of ours, with the driver's words in one line."""
    with pytest.raises(DatabaseUnreachableError) as caught:
        migrate_up(f"postgresql:///x?host={tmp_path}")
    assert "\n" not in str(caught.value)


def test_every_file_can_be_rolled_back() -> None:
    """Each has a rollback beside it, and says what it depends on."""
    for before, migration_id in zip((None, *IDS), IDS, strict=False):
        assert (DIRECTORY / f"{migration_id}.rollback.sql").is_file()
        first_line = (DIRECTORY / f"{migration_id}.sql").read_text().splitlines()[0]
        assert before is None or first_line == f"-- depends: {before}"
