"""Fixtures of the command's tests: the program alone, and with an API and a worker behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reactorcide.tests.cli.program import Program, a_socket, running, served
from reactorcide.tests.support.server import TestServer


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in an empty home."""
    return Program(tmp_path)


@pytest.fixture
def on_database(program: Program, database_uri: str) -> Program:
    """The command in an empty home, on the test's database."""
    return program.having(DB_URI=database_uri)


@pytest.fixture(scope="session")
def stack(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The command as an admin's, with an API and a worker running. Shared: leave others' jobs."""
    home = tmp_path_factory.mktemp("stack")
    with server.new_database() as uri, a_socket() as (listening, url):
        program = Program(home).having(DB_URI=uri)
        with (
            served(program, listening),
            running(program.start("worker", "--concurrency", "4")),
        ):
            token = program.json("token", "create", "--user", "root", "--role", "admin")["token"]
            yield program.having(API_URL=url, API_TOKEN=token)
