"""`archive`: counts, moves, and refuses what it can't do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reactorcide.tests.cli.program import Program, a_socket, served, until
from reactorcide.tests.support.server import TestServer


@pytest.fixture(scope="module")
def at_work(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """An API of its own: here all that has ended is archived."""
    home = tmp_path_factory.mktemp("archive")
    with server.new_database() as uri, a_socket() as (listening, url):
        program = Program(home).having(DB_URI=uri)
        with served(program, listening):
            token = program.json("token", "create", "--user", "root", "--role", "admin")["token"]
            yield program.having(API_URL=url, API_TOKEN=token)


def test_what_ended_is_archived_and_still_shown(at_work: Program) -> None:
    """A dry run moves nothing; afterwards the list is empty and the id still finds the job."""
    job_id = at_work("submit", "--", "true").stdout.strip()
    shown = at_work.json("jobs", "cancel", job_id)
    assert at_work("audit", "checkpoint").returncode == 0
    assert at_work("audit", "list").returncode == 0
    until(lambda: at_work.json("archive", "--before", "2999-01-01", "--dry-run")["streams"] == 1)
    assert len(at_work.json("jobs", "list")["jobs"]) == 1
    assert at_work.json("archive", "--before", "30d")["streams"] == 0
    done = at_work.json("archive", "--before", "2999-01-01T00:00:00Z")
    assert (done["streams"], done["objects"], done["left"]) == (1, 1, 0)
    assert done["events"] == shown["version"]
    assert at_work.json("jobs", "list")["jobs"] == []
    assert at_work.json("jobs", "get", job_id) == shown
    trail = at_work("audit", "list", "--type", "job.submitted")
    assert (trail.stdout.count(job_id), "--stream-id finds those" in trail.stderr) == (0, True)
    trail = at_work("audit", "list", "--stream-id", job_id)
    assert (job_id in trail.stdout, "--stream-id finds" in trail.stderr) == (True, False)
    assert at_work.json("archive", "--verify") == {"objects": 1, "events": done["events"]}


def test_what_can_not_be_done_is_told(at_work: Program, tmp_path: Path) -> None:
    """No time, another store than the API's."""
    for before in ("yesterday", "30", "2026-13-01", "2026-01-31T12:00:00"):
        done = at_work("archive", "--before", before)
        assert (done.returncode, "30d" in done.stderr) == (2, True), before
    for words in ((), ("--verify", "--before", "1d"), ("--verify", "--dry-run")):
        assert at_work("archive", *words).returncode == 2
    done = at_work("archive", "--before", "1d", "--object-store-url", tmp_path.as_uri())
    assert (done.returncode, "not the store" in done.stderr) == (2, True)
