"""`audit` and `projections run`: the trail is shown, and followed until a signal comes."""

import signal
from typing import Any

import pytest

from reactorcide.tests.cli.program import Program, a_socket, running, served, until
from reactorcide.tests.conftest import Connection


def test_the_trail_is_filtered_and_paged(stack: Program) -> None:
    """In the API's envelope, newest first; the table has the actor in one word."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    listed = stack.json("audit", "list", "--stream-id", job_id, "--limit", "2")
    assert [event["type"] for event in listed["events"]] == ["job.completed", "job.started"]
    cursor = listed["next_cursor"]
    rest = stack.json("audit", "list", "--stream-id", job_id, "--cursor", cursor)
    assert [event["type"] for event in rest["events"]] == [
        "job.claimed",
        "job.queued",
        "job.submitted",
    ]
    by = listed["events"][0]["actor"]["id"]
    shown = stack("audit", "list", "--actor", by, "--type", "job.completed").stdout
    columns = [line.split("\t") for line in shown.splitlines()]
    assert {line[2] for line in columns} == {"job.completed"}
    assert job_id in {line[3] for line in columns}
    assert {line[4] for line in columns} == {f"worker {by}"}


def test_a_request_is_shown_with_what_followed(stack: Program) -> None:
    """Below each other, indented; an id that nothing carries is told apart from nothing done."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    listed = stack.json("audit", "list", "--stream-id", job_id, "--type", "job.submitted")
    request_id = listed["events"][0]["request_id"]
    lines = stack("audit", "tree", request_id).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "job.submitted",
        "  job.queued",
        "    job.claimed",
        "      job.started",
        "        job.completed",
    ]
    assert stack.json("audit", "tree", request_id)["events"][1]["depth"] == 1
    nothing = stack("audit", "tree", "nobodys")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no event carries the request id nobodys" in nothing.stderr


def test_outcomes_and_reads_can_be_asked_for(stack: Program) -> None:
    """What was denied or refused, and who read a job's log; another word is exit 2."""
    job_id = stack("submit", "--", "true").stdout.strip()
    for options in (("--outcome", "denied"), ("--outcome", "refused"), ("--job-id", job_id)):
        assert stack.json("audit", "list", *options)["next_cursor"] is None
    assert stack("audit", "list", "--outcome", "failure").returncode == 2
    assert stack("audit", "list", "--actor", "anonymous").returncode == 0


def test_a_typo_is_exit_2_and_told_the_nearest(stack: Program) -> None:
    """Nothing found would look as if nothing had happened."""
    done = stack("audit", "list", "--type", "job.complete")
    assert done.returncode == 2
    assert "did you mean job.completed?" in done.stderr


def _trail(program: Program) -> dict[str, Any]:
    found = program.json("projections", "list")["projections"]
    (trail,) = [one for one in found if one["name"] == "audit_events"]
    assert trail["kind"] == "async"
    return dict(trail)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_projections_are_followed_until_a_signal(
    on_database: Program, connection: Connection, number: int
) -> None:
    """Then it exits 0, and the list says what is behind, by how much, and why."""
    assert on_database("token", "create", "--user", "u").returncode == 0
    behind = _trail(on_database)
    assert (behind["position"], behind["why"]) == (0, "nobody runs it")
    assert behind["lag_events"] == behind["events"] > 0
    with running(on_database.start("projections", "run")) as runner:
        until(lambda: _trail(on_database)["why"] == "up to date")
        assert runner.stop(number) == 0
        assert "Traceback" not in runner.err
    caught_up = _trail(on_database)
    assert (caught_up["lag_events"], caught_up["position"]) == (0, behind["lag_events"])
    rows = await connection.fetchval("SELECT count(*) FROM audit_events")
    assert rows == caught_up["events"]


def test_a_killed_runner_is_followed_by_the_api(on_database: Program) -> None:
    """Whichever has the lock when it dies, the other goes on."""
    with running(on_database.start("projections", "run")) as runner:
        runner.until(lambda runner: "projections_started" in runner.err)
        with a_socket() as (listening, _), served(on_database, listening):
            runner.stop(signal.SIGKILL)
            assert on_database("token", "create", "--user", "u").returncode == 0
            until(lambda: _trail(on_database)["why"] == "up to date")
