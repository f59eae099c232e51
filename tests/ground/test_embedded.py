"""The embedded server: made whole, kept, adopted, stopped."""

import asyncio
import os
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
    find_binaries,
)
from reactorcide.cli.postmaster import running_postmaster
from reactorcide.tests.ground.embedded_servers import ask, pid_of
from reactorcide.tests.support.server import roomy_root

pytestmark = pytest.mark.slow

NS: Final = Path(__file__).parents[2] / ".ns"

START_AND_DIE: Final = """
import os, sys
from pathlib import Path
from reactorcide.cli.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
os.kill(os.getpid(), 9)
"""


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
