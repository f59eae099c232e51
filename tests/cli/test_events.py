"""`events tail`: all that happens, one line each, over restarts of the API, until interrupted."""

import json
import signal

from reactorcide.tests.cli.program import Program, a_socket, running, served


def test_what_happens_is_printed_line_by_line(stack: Program) -> None:
    """When, what, to which stream, by whom; interrupted it ends with 130."""
    with running(stack.start("events", "tail", "--from-beginning")) as tail:
        tail.until(lambda tail: "user.registered" in tail.out)
        job_id = stack("submit", "--", "true").stdout.strip()
        tail.until(lambda tail: f"job.completed\t{job_id}" in tail.out)
        lines = [line.split("\t") for line in tail.out.splitlines() if job_id in line]
        assert tail.stop(signal.SIGINT) == 130
    assert [line[1] for line in lines][:2] == ["job.submitted", "job.claimed"]
    assert [line[3].split()[0] for line in lines][:2] == ["user", "worker"]
    assert all(line[0].startswith("20") for line in lines)


def test_in_json_an_event_is_a_line(stack: Program) -> None:
    """As a job's list of events has it; from behind a position on."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("jobs", "watch", job_id).returncode == 0
    events = stack.json("jobs", "events", job_id)["events"]
    first = str(events[0]["position"])
    with running(stack.start("events", "tail", "--after", first, "-o", "json")) as tail:
        tail.until(lambda tail: '"job.completed"' in tail.out)
        told = [json.loads(line) for line in tail.out.splitlines()]
    assert [event for event in told if event["stream_id"] == job_id] == events[1:]


def test_a_restart_of_the_api_loses_nothing(on_database: Program) -> None:
    """The tail goes on where it stood, though nothing had been told yet."""
    with a_socket() as (listening, url):
        token = on_database.json("token", "create", "--user", "root", "--role", "admin")["token"]
        client = on_database.having(API_URL=url, API_TOKEN=token)
        with served(on_database, listening) as api:
            api.until(lambda api: "api_started" in api.err)
            with running(client.start("events", "tail")) as tail:
                tail.until(lambda tail: "behind position" in tail.err)
                first = client("submit", "--", "true").stdout.strip()
                tail.until(lambda tail: first in tail.out)
                assert api.stop() == 0
                made = on_database.json("token", "create", "--user", "root")["token_id"]
                with served(on_database, listening):
                    tail.until(lambda tail: made in tail.out)
                lines = tail.out.splitlines()
                assert len(lines) == len(set(lines))
                assert tail.stop(signal.SIGINT) == 130


def test_what_cannot_be_asked_for_is_exit_2(stack: Program) -> None:
    """A position to come, and two beginnings."""
    assert stack("events", "tail", "--after", "9" * 15).returncode == 2
    assert stack("events", "tail", "--after", "1", "--from-beginning").returncode == 2
    assert stack("events", "tail", "--after", "x").returncode == 2
