"""A doorbell outlives its server: one that is started again, and one that is replaced.

Servers of these tests' own, since they are killed.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.postmaster import running_postmaster
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.support.server import SETTINGS, roomy_root

LONG: Final = 20.0


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Two servers that may be killed; not yet started."""
    folder = Path(tempfile.mkdtemp(prefix=f"rc-bell-{os.getpid()}-", dir=roomy_root()))
    pair = [EmbeddedPostgres(folder / name, None, SETTINGS) for name in ("a", "b")]
    try:
        yield pair[0], pair[1]
    finally:
        for one in pair:
            one.stop()
        shutil.rmtree(folder, ignore_errors=True)


def kill(server: EmbeddedPostgres) -> None:
    """End it at once, as `pg_ctl stop -m immediate` does."""
    running = running_postmaster(server.data)
    assert running is not None
    os.kill(running.pid, signal.SIGQUIT)


async def is_heard(doorbell: Doorbell, database: Database) -> None:
    """Assert that a ring of another program arrives."""
    with doorbell.listen("jobs") as listener:
        async with Doorbell(database) as other:
            other.ring("jobs")
            assert await listener.wait(LONG)


async def test_a_server_that_is_started_again_is_listened_to_again(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    """The listeners are woken once for what they may have missed."""
    server, _ = servers
    database = Database(server.start())
    async with Doorbell(database) as doorbell:
        with doorbell.listen("jobs") as listener:
            kill(server)
            await until(_is_down(doorbell), LONG)
            server.start()
            assert await listener.wait(LONG)
        assert doorbell.is_up
        await is_heard(doorbell, database)


async def test_a_new_primary_is_found(servers: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> None:
    """Of a URI with several hosts, the one that can be written to is taken, each time anew."""
    first, second = servers
    uris = [urlsplit(one.start()) for one in servers]
    for uri in uris:
        with psycopg.connect(uri.geturl(), autocommit=True) as admin:
            admin.execute("ALTER USER reactorcide PASSWORD 'one'")
    folders = ",".join(parse_qs(uri.query)["host"][0] for uri in reversed(uris))
    user = f"{uris[0].username}:one"
    database = Database(
        f"postgresql://{user}@/postgres?host={folders}&target_session_attrs=read-write"
    )
    _set_read_only(second, user, "on")
    async with Doorbell(database) as doorbell:
        assert await _folder_of(database) in str(parse_qs(uris[0].query))
        with doorbell.listen("jobs") as listener:
            _set_read_only(second, user, "off")
            kill(first)
            assert await listener.wait(LONG)
        assert await _folder_of(database) in str(parse_qs(uris[1].query))
        await is_heard(doorbell, database)


def _set_read_only(server: EmbeddedPostgres, user: str, value: str) -> None:
    uri = urlsplit(server.start())._replace(netloc=f"{user}@").geturl()
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        admin.execute("SELECT pg_reload_conf()")


async def _folder_of(database: Database) -> str:
    """Return the socket's folder of the server that is connected to."""
    connection = await database.connect()
    try:
        folder: str = await connection.fetchval("SHOW unix_socket_directories")
    finally:
        await connection.close()
    return folder


def _is_down(doorbell: Doorbell) -> Callable[[], Awaitable[bool]]:
    async def is_down() -> bool:
        return not doorbell.is_up

    return is_down
