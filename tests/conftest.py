"""Fixtures for all tests: a server for the session, a fresh migrated database for each test.

`PG_BIN=/usr/lib/postgresql/15/bin` runs the tests on another server than the wheel's.
"""

import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.tests.support.server import TestServer, new_session_folder
from reactorcide.tests.support.silent_line import SilentLine, silent_line
from reactorcide.tests.support.stores import BUCKET, s3_served, s3_server

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# How long an example takes is said by the machine's other work; in CI hypothesis does this itself.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if not os.environ.get("CI"):
    settings.load_profile("patient")

_SERVER: Final = pytest.StashKey[TestServer]()
_SESSION_FOLDER: Final = pytest.StashKey[Path]()
_FOLDER: Final = "reactorcide_server_folder"


def pytest_configure(config: pytest.Config) -> None:
    """Agree on one server; whoever needs it first starts it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a shell: the programs under test would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    of_worker = getattr(config, "workerinput", None)
    folder = Path(of_worker[_FOLDER]) if of_worker else new_session_folder()
    config.stash[_SERVER] = TestServer(folder, os.environ.get("PG_BIN"))
    config.stash[_SESSION_FOLDER] = folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the session's server is."""
    node.workerinput[_FOLDER] = str(node.config.stash[_SESSION_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server when the session ends, not when a worker does."""
    server = config.stash[_SERVER]
    if hasattr(config, "workerinput"):
        server.leave()
    else:
        server.stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a server that was chosen, leave out what no server has a part in."""
    if "PG_BIN" not in os.environ:
        return
    kept = [item for item in items if "server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> TestServer:
    """The session's PostgreSQL server."""
    return pytestconfig.stash[_SERVER]


@pytest.fixture
def empty_database_uri(server: TestServer) -> Iterator[str]:
    """A database with nothing in it."""
    with server.new_database("template1") as uri:
        yield uri


@pytest.fixture
def database_uri(server: TestServer) -> Iterator[str]:
    """A fresh database with the schema, gone after the test."""
    with server.new_database() as uri:
        yield uri


@pytest.fixture
async def line(database_uri: str) -> AsyncIterator[SilentLine]:
    """A line to the test's database that the test can silence."""
    async with silent_line(database_uri) as line:
        yield line


@pytest.fixture
def database(database_uri: str) -> Database:
    """The test's database as the code sees it."""
    return Database(database_uri)


@pytest.fixture
async def connection(database_uri: str) -> AsyncIterator[Connection]:
    """A connection to the test's database, as its owner."""
    opened = await asyncpg.connect(database_uri)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture(scope="session")
def s3_variables() -> Iterator[Mapping[str, str]]:
    """The variables by which a real S3 server is reached; skipped where none is installed."""
    if s3_server() is None:
        pytest.skip("no S3 server is installed here: `make s3-test` installs one")
    with s3_served() as variables:
        yield variables


STORES: Final = ("directory", "memory", "s3")


@pytest.fixture
def store_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An empty object store: a directory, or what the test is parametrized with (STORES)."""
    match getattr(request, "param", "directory"):
        case "s3":
            for name, value in request.getfixturevalue("s3_variables").items():
                monkeypatch.setenv(name, value)
            return f"s3://{BUCKET}/{tmp_path.name}"
        case "memory":
            return "memory://"
        case _:
            return (tmp_path / "the objects").as_uri()


@pytest.fixture
def objects(store_url: str) -> ObjectStore:
    """The store of the test."""
    return ObjectStore(store_url)
