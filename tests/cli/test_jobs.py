"""`jobs` and `logs`: list, look into, stop, repeat, delete."""

import json

import pytest
import yaml

from reactorcide.tests.cli.program import Program, running


def _done(stack: Program, command: str, *flags: str) -> str:
    """Submit a job and wait for its end; return its id."""
    job_id = str(stack("submit", *flags, "--", command).stdout.strip())
    assert stack("logs", job_id, "--follow", encoding=None).returncode == 0
    return job_id


def test_a_list_is_filtered_and_paged(stack: Program) -> None:
    """In the API's envelope."""
    ids = [_done(stack, "true", "--name", f"paged {n}", "--queue", "default") for n in range(3)]
    listed = stack.json("jobs", "list", "-q", "paged", "--status", "completed", "--limit", "2")
    assert [job["job_id"] for job in listed["jobs"]] == ids[:0:-1]
    assert (listed["total"], listed["limit"], listed["offset"]) == (3, 2, 0)
    rest = stack.json("jobs", "list", "-q", "paged", "--cursor", listed["next_cursor"])
    assert [job["job_id"] for job in rest["jobs"]] == ids[:1]
    shown = stack("jobs", "list", "-q", "paged", "--limit", "1").stdout.split("\t")
    assert shown[:4] == [ids[2], "completed", "paged 2", "default"]
    assert stack("jobs", "list", "--status", "sleeping").returncode == 2


def test_labels_filter_the_list(stack: Program) -> None:
    """Each label is one condition."""
    job_id = stack("submit", "--label", "team=blue", "--", "true").stdout.strip()
    found = stack.json("jobs", "list", "--label", "team=blue")["jobs"]
    assert [job["job_id"] for job in found] == [job_id]
    assert stack.json("jobs", "list", "--label", "team=red")["jobs"] == []


def test_events_say_who_did_what(stack: Program) -> None:
    """In order, with actor and time; YAML is the API's answer."""
    job_id = _done(stack, "true")
    lines = stack("jobs", "events", job_id).stdout.splitlines()
    columns = [line.split("\t") for line in lines]
    types = [column[2] for column in columns]
    assert types == ["job.submitted", "job.claimed", "job.started", "job.completed"]
    assert [column[3].split()[0] for column in columns] == ["user"] + ["worker"] * 3
    answer = yaml.safe_load(stack("jobs", "events", job_id, "-o", "yaml").stdout)
    assert [event["type"] for event in answer["events"]] == types


def test_a_past_state_and_what_changed_since_are_shown(stack: Program) -> None:
    """By position, and from version to version; a moment that is none is refused."""
    job_id = _done(stack, "exit 3")
    events = stack.json("jobs", "events", job_id)["events"]
    then = stack.json("jobs", "state", job_id, "--at", str(events[0]["position"]))
    assert (then["status"], then["version"]) == ("queued", 1)
    lines = stack("jobs", "diff", job_id, "--from", "1").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == ["--- version 1", "+++ version 4"]
    place = lines.index('- /status: "queued"')
    assert lines[place + 1] == '+ /status: "failed"'
    assert "+ /exit_code: 3" in lines
    assert stack.json("jobs", "diff", job_id)["from"]["version"] == 3
    assert stack("jobs", "state", job_id, "--at", "yesterday").returncode == 2
    assert stack("jobs", "diff", job_id, "--to", "99").returncode == 2


def test_a_running_job_is_watched_and_cancelled(stack: Program) -> None:
    """`watch` prints what happens, and ends with the job's outcome."""
    job_id = stack("submit", "--", "sleep 60").stdout.strip()
    with running(stack.start("jobs", "watch", job_id)) as watch:
        watch.until(lambda watch: "job.started" in watch.out)
        assert stack("jobs", "cancel", job_id).returncode == 0
        assert watch.wait() == 9
        assert watch.out.splitlines()[-1].split("\t")[2] == "job.cancelled"
    assert stack("jobs", "cancel", job_id).returncode == 6


def test_a_job_is_killed_retried_and_deleted(stack: Program) -> None:
    """Each by its own command, each refused where it is not legal."""
    job_id = stack("submit", "--", "trap '' TERM; sleep 60").stdout.strip()
    assert stack("jobs", "retry", job_id).returncode == 6
    assert stack("jobs", "delete", job_id).returncode == 6
    assert stack("jobs", "kill", job_id).returncode == 0
    assert stack("jobs", "watch", job_id).returncode == 9
    again = stack("jobs", "retry", job_id).stdout.strip()
    assert stack.json("jobs", "get", again)["retry_of"] == job_id
    assert stack("jobs", "kill", again).returncode == 0
    assert stack("jobs", "delete", job_id).returncode == 0
    assert stack("jobs", "get", job_id).returncode == 5


def test_a_job_that_waits_is_explained(stack: Program) -> None:
    """Why it is not running."""
    job_id = stack("submit", "--queue", "nobody-serves", "--", "true").stdout.strip()
    explained = stack.json("jobs", "explain", job_id)
    assert explained["status"] == "queued"
    assert explained["reasons"]
    assert stack("jobs", "cancel", job_id).returncode == 0


def test_queues_are_counted(stack: Program) -> None:
    """In JSON as the API has it, and a line for each queue when piped."""
    for _ in range(2):
        assert stack("submit", "--queue", "aaa-counted", "--", "true").returncode == 0
    found = stack.json("queues", "list", "--limit", "1")
    assert found["queues"] == [
        {"queue_name": "aaa-counted", "submitted": 0, "queued": 2, "claimed": 0, "running": 0}
    ]
    assert "aaa-counted\t0\t2\t0\t0\n" in stack("queues", "list").stdout


def test_a_log_is_printed_byte_for_byte(stack: Program) -> None:
    """Both streams to standard output; tail and stream choose."""
    job_id = _done(stack, r"printf 'a\n\377\nb\n'; echo e >&2")
    printed = stack("logs", job_id, "--stream", "stdout", encoding=None)
    assert printed.stdout == b"a\n\xff\nb\n"
    assert stack("logs", job_id, "--stream", "stderr").stdout == "e\n"
    tail = stack("logs", job_id, "--tail", "1", "--stream", "stdout")
    assert tail.stdout == "b\n"


@pytest.mark.parametrize("job", ["nonsense", "00000000-0000-0000-0000-000000000000", "a/b?c"])
def test_an_unknown_job_is_exit_5(stack: Program, job: str) -> None:
    """An id that is no UUID is as unknown as one that nobody has."""
    for command in (("jobs", "get"), ("jobs", "cancel"), ("logs",), ("jobs", "events")):
        assert stack(*command, job).returncode == 5


def test_a_job_is_shown_field_by_field(stack: Program) -> None:
    """As name and value when piped, as the API's object in JSON."""
    job_id = _done(stack, "exit 3", "--env", "A=b", "--priority", "7")
    shown = dict(line.split("\t", 1) for line in stack("jobs", "get", job_id).stdout.splitlines())
    assert (shown["status"], shown["exit_code"], shown["priority"]) == ("failed", "3", "7")
    assert json.loads(shown["job_env_vars"]) == {"A": "b"}
    assert stack.json("jobs", "get", job_id)["job_id"] == job_id
