"""What a user can cause ends in one clear line and the contract's exit code."""

import socket
from pathlib import Path
from typing import Final

import pytest

from reactorcide.tests.cli.program import Program, a_socket, running, served
from reactorcide.tests.conftest import Connection

NO_DATABASE: Final = "postgresql://nobody@127.0.0.1:1/nothing"
ON_DATABASE: Final = [
    ("serve", "--port", "0"),
    ("worker",),
    ("token", "create", "--user", "u"),
    ("user", "create", "u"),
    ("projections", "list"),
    ("projections", "run"),
    ("projections", "verify"),
    ("projections", "rebuild", "--all"),
]


def _is_one_clear_line(text: str) -> bool:
    lines = [line for line in text.splitlines() if not line.startswith("  ")]
    return len(lines) == 1 and lines[0].startswith("reactorcide: ")


@pytest.mark.parametrize("arguments", [*ON_DATABASE, ("migrate", "up"), ("migrate", "status")])
def test_a_database_that_is_down_is_exit_3(program: Program, arguments: tuple[str, ...]) -> None:
    """Whichever command needs it."""
    done = program.having(DB_URI=NO_DATABASE)(*arguments)
    assert done.returncode == 3, done.stderr
    assert _is_one_clear_line(done.stderr)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No module named 'jobs'"),
        ("import nowhere", "No module named 'nowhere'"),
        ("x = 1", "no function has @handler"),
        (
            """
from reactorcide.worker.handlers import handler
@handler("a")
def one(args): ...
@handler("a")
def two(args): ...""",
            "two handlers are called 'a': jobs.one and jobs.two",
        ),
    ],
)
def test_handlers_that_cannot_be_loaded_are_exit_2(
    program: Program, tmp_path: Path, text: str | None, words: str
) -> None:
    """Before anything else is done."""
    module = "jobs"
    if text is not None:
        module = str(tmp_path / "jobs.py")
        Path(module).write_text(text)
    done = program.having(DB_URI=NO_DATABASE)("worker", "--handlers", module)
    assert done.returncode == 2, done.stderr
    assert _is_one_clear_line(done.stderr)
    assert words in done.stderr


@pytest.mark.parametrize("arguments", ON_DATABASE)
def test_an_older_schema_is_exit_3(
    program: Program, empty_database_uri: str, arguments: tuple[str, ...]
) -> None:
    """With what to do about it."""
    done = program.having(DB_URI=empty_database_uri)(*arguments)
    assert done.returncode == 3, done.stderr
    assert _is_one_clear_line(done.stderr)
    assert "reactorcide migrate up" in done.stderr


@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("worker",)])
async def test_a_newer_schema_is_exit_3(
    on_database: Program, connection: Connection, arguments: tuple[str, ...]
) -> None:
    """A database that a newer version has migrated."""
    await connection.execute(
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) "
        "VALUES ('x', '9999.from-the-future', now())"
    )
    done = on_database(*arguments)
    assert done.returncode == 3, done.stderr
    assert _is_one_clear_line(done.stderr)
    assert "9999.from-the-future" in done.stderr


@pytest.mark.parametrize("arguments", [("serve",), ("up",)])
def test_a_port_that_is_taken_is_exit_3(program: Program, arguments: tuple[str, ...]) -> None:
    """Before anything is started."""
    with a_socket() as (listening, _):
        port = str(listening.getsockname()[1])
        done = program(*arguments, "--port", port)
    assert done.returncode == 3
    assert _is_one_clear_line(done.stderr)
    assert port in done.stderr
    assert not (program.home / "data").exists()


@pytest.mark.parametrize(
    ("variable", "value", "arguments"),
    [
        ("PORT", "seven", ("serve",)),
        ("LEASE_SECONDS", "0", ("worker",)),
        ("DB_URI", "sqlite:///x", ("migrate", "up")),
        ("RATE_LIMIT", "many", ("up",)),
        ("API_URL", "example", ("jobs", "list")),
        ("SECRET_KEY", "c2hvcnQ=", ("serve",)),
        ("LOG_FORMAT", "xml", ("demo",)),
    ],
)
def test_a_bad_setting_is_exit_2(
    program: Program, variable: str, value: str, arguments: tuple[str, ...]
) -> None:
    """One line names the variable and what is allowed."""
    done = program.having(**{variable: value})(*arguments)
    assert done.returncode == 2
    assert _is_one_clear_line(done.stderr)
    assert f"REACTORCIDE_{variable}" in done.stderr
    assert "allowed" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--host", "no.such.host.invalid"),
        ("serve", "--fd", "999"),
        ("worker", "--queue", "Not A Queue"),
        ("worker", "--label", "novalue"),
        ("worker", "--concurrency", "0"),
        ("worker", "--copy-root", "relative"),
        ("projections", "rebuild"),
        ("migrate", "down", "--steps", "0"),
    ],
)
def test_a_bad_flag_is_exit_2(on_database: Program, arguments: tuple[str, ...]) -> None:
    """Without a traceback."""
    done = on_database(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_dir_that_is_a_file_is_exit_2(program: Program) -> None:
    """The line names it."""
    (program.home / "data").write_text("")
    done = program("migrate", "up")
    assert done.returncode in {2, 3}
    assert _is_one_clear_line(done.stderr)
    assert str(program.home / "data") in done.stderr


@pytest.mark.parametrize(
    "arguments", [("jobs", "list"), ("run", "--", "true"), ("logs", "x"), ("token", "check")]
)
def test_an_api_that_is_down_is_exit_3(program: Program, arguments: tuple[str, ...]) -> None:
    """With a hint."""
    done = program.having(API_URL="http://127.0.0.1:1")(*arguments)
    assert done.returncode == 3
    assert _is_one_clear_line(done.stderr)


def test_something_else_than_the_api_is_exit_3(program: Program) -> None:
    """A server that speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with running(program.having(API_URL=url).start("jobs", "list")) as asking:
            accepted, _ = other.accept()
            with accepted:
                accepted.recv(65_536)
                accepted.sendall(b"220 mail.example ESMTP\r\n\r\n")
            assert asking.wait() == 3
            assert _is_one_clear_line(asking.err)


def test_healthcheck_tells_ready_from_not(on_database: Program) -> None:
    """Exit 0 when the API answers ready, else 1."""
    with a_socket() as (listening, url), served(on_database, listening):
        assert on_database("healthcheck", "--api-url", url).returncode == 0
    assert on_database("healthcheck", "--api-url", url).returncode == 1


def test_an_unknown_projection_is_exit_2(on_database: Program) -> None:
    """With those that there are."""
    done = on_database("projections", "verify", "wishes")
    assert done.returncode == 2
    assert "jobs" in done.stderr
