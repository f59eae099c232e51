"""`up`, `demo`, `serve` and `worker` as whole programs: start, survive, stop, leave nothing."""

import json
import os
import re
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.tests.cli.program import Program, Running, a_socket, running, served, until
from reactorcide.tests.conftest import Connection

pytestmark = pytest.mark.slow


@pytest.fixture
def machine() -> Iterator[Program]:
    """The command in an empty home with a short path (for the socket), and no database."""
    with tempfile.TemporaryDirectory(prefix="rc-up-") as folder:
        program = Program(Path(folder))
        try:
            yield program
        finally:
            EmbeddedPostgres(program.home / "data").stop()


def _up(program: Program, *options: str) -> Running:
    """Start it as a user would: what lists programs knows it by its command line."""
    return replace(program, is_forked=False).start("up", "--port", "0", *options)


def _is_up(up: Running) -> bool:
    return "try next" in up.out and "stop" in up.out


def _programs_of(home: Path) -> list[str]:
    """Return the command lines of all programs that work on this home."""
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid=,args=", "e"], capture_output=True, text=True, check=True
    ).stdout
    mark = f"REACTORCIDE_DATA_DIR={home / 'data'}"
    return [line for line in listed.splitlines() if mark in line or f"-D {home}" in line]


def _children_of(machine: Program) -> list[str]:
    return [line for line in _programs_of(machine.home) if "reactorcide.cli.main" in line]


def test_the_demo_runs_a_job_and_leaves_nothing(machine: Program) -> None:
    """Its log, its events with actors and times, exit 0, no program left."""
    with running(replace(machine, is_forked=False).start("demo")) as demo:
        demo.until(lambda demo: "==> building it" in demo.out)
        assert "==> done" not in demo.out  # live, not afterwards
        assert demo.wait() == 0, demo.err
        assert "==> done" in demo.out
        events = re.findall(r"(\d\d:\d\d:\d\d\.\d{3})  \S+ s +(job\.\w+) +(\w+) (\S+)", demo.out)
    assert [event[1] for event in events] == [
        "job.submitted",
        "job.claimed",
        "job.started",
        "job.completed",
    ]
    assert events[0][2:] == ("user", "admin")
    assert events[-1][2] == "worker"
    assert _programs_of(machine.home) == []


def test_up_runs_jobs_and_keeps_them_over_restarts(machine: Program) -> None:
    """Stopped in good order, killed, started again: the data are there, and no child is left."""
    with running(_up(machine)) as up:
        up.until(_is_up)
        credentials = machine.home / "data" / "credentials"
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        assert machine("run", "--", "echo one").stdout == "one\n"
        again = machine("up", "--port", "0")
        assert again.returncode == 3
        assert f"process {up.pid}" in again.stderr
        assert up.stop(signal.SIGINT) == 0
    assert _programs_of(machine.home) == []
    token = json.loads(credentials.read_text())["token"]
    with running(_up(machine)) as up:
        up.until(_is_up)
        assert len(_children_of(machine)) == 3  # itself, the API and the worker
        assert machine("run", "--", "echo two").stdout == "two\n"
        up.stop(signal.SIGKILL)
        until(lambda: _children_of(machine) == [])
    with running(_up(machine)) as up:
        up.until(_is_up)
        assert json.loads(credentials.read_text())["token"] == token
        jobs = machine.json("jobs", "list")["jobs"]
        assert [job["name"] for job in jobs] == ["echo two", "echo one"]
        assert machine("projections", "verify").returncode == 0
        assert up.stop() == 0
    assert _programs_of(machine.home) == []


@pytest.mark.parametrize("command", [("up", "--port", "0"), ("demo",)])
def test_a_stop_while_starting_leaves_nothing(machine: Program, command: tuple[str, ...]) -> None:
    """The first signal ends it wherever it is: `up` with 0, a demo as interrupted."""
    with running(replace(machine, is_forked=False).start(*command)) as starting:
        starting.until(lambda starting: "starting the database" in starting.err)
        assert starting.stop() == (0 if command[0] == "up" else 130)
        assert "Traceback" not in starting.err
    assert _programs_of(machine.home) == []


def test_up_starts_its_children_again(machine: Program, database_uri: str) -> None:
    """Whoever kills them; the address stays the same."""
    program = machine.having(DB_URI=database_uri)
    with running(_up(program)) as up:
        up.until(_is_up)
        until(lambda: len(_children(up)) == 2)
        for child in _children(up):
            os.kill(child, signal.SIGKILL)
        up.until(lambda up: up.err.count("starts again") == 2)
        assert machine("run", "--", "echo here").stdout == "here\n"
        assert up.stop() == 0


async def test_up_gives_back_what_still_runs(
    machine: Program, database_uri: str, connection: Connection
) -> None:
    """A job that goes on too long does not keep it from ending, and is queued again."""
    program = machine.having(DB_URI=database_uri)
    with running(_up(program)) as up:
        up.until(_is_up)
        job_id = machine("submit", "--", "echo on; sleep 100").stdout.strip()
        until(lambda: machine("logs", job_id).stdout == "on\n")
        up.popen.send_signal(signal.SIGTERM)
        up.until(lambda up: "worker_draining" in up.err)
        assert up.stop() == 0
    row = await connection.fetchrow("SELECT status, attempt FROM jobs WHERE job_id = $1", job_id)
    assert row is not None
    assert tuple(row) == ("queued", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_with_a_stream_open(on_database: Program, number: int) -> None:
    """Exit 0 within seconds, whoever listens."""
    with a_socket() as (listening, url), served(on_database, listening) as api:
        token = on_database.json("token", "create", "--user", "ann")["token"]
        client = on_database.having(API_URL=url, API_TOKEN=token)
        job_id = client("submit", "--", "true").stdout.strip()
        with running(client.start("logs", job_id, "--follow")) as follow:
            api.until(lambda api: f"{job_id}/logs" in api.err or follow.popen.poll() is None)
            api.popen.send_signal(number)
            assert api.popen.wait(8) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_when_asked(on_database: Program, number: int) -> None:
    """Exit 0."""
    with running(on_database.start("worker")) as worker:
        worker.until(lambda worker: "worker_started" in worker.err)
        assert worker.stop(number) == 0
        assert "worker_stopped" in worker.err


def test_the_schema_goes_up_and_down(program: Program, empty_database_uri: str) -> None:
    """And the status shows it."""
    command = program.having(DB_URI=empty_database_uri)
    up = command("migrate", "up")
    assert up.returncode == 0, up.stderr
    applied = up.stdout.split()
    assert applied
    assert command("migrate", "up").stdout == ""
    assert command("migrate", "down").stdout.split() == applied[-1:]
    states = [row["state"] for row in command.json("migrate", "status")["migrations"]]
    assert states == ["applied"] * (len(applied) - 1) + ["missing"]


def _children(up: Running) -> list[int]:
    """Return the API and the worker, as far as they run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(up.pid)],
        capture_output=True,
        text=True,
        check=False,  # there is none
    ).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "cli.main" in line]
