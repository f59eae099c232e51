"""`run`: the log as it is printed, the outcome as an exit code, whatever happens on the way."""

import json
import signal
from pathlib import Path

import pytest

from reactorcide.tests.cli.program import Program, a_socket, running, served, until


def test_each_stream_arrives_where_it_was_printed(stack: Program) -> None:
    """Byte for byte, with nothing of ours on standard output."""
    done = stack("run", "--", r"printf 'a\n\377\0b'; printf 'c\351' >&2", encoding=None)
    assert done.returncode == 0
    assert done.stdout == b"a\n\xff\x00b"
    assert done.stderr == b"c\xe9"


def test_several_words_are_quoted_and_joined(stack: Program) -> None:
    """As a shell would have them; one word is a command as it stands."""
    assert (
        stack("run", "--", "printf", "%s|", "a b", "$HOME", "--", "-x").stdout == "a b|$HOME|--|-x|"
    )
    assert stack("run", "--", "echo $((1 + 1))").stdout == "2\n"


@pytest.mark.parametrize(
    ("flags", "command", "expected"),
    [
        ((), "true", 0),
        ((), "exit 7", 1),
        (("--propagate-exit",), "exit 7", 7),
        (("--propagate-exit",), "kill -KILL $$", 137),
        (("--timeout", "1"), "sleep 30", 10),
        (("--wait-seconds", "0.3"), "sleep 5", 8),
        (("--wait-seconds", "0"), "true", 8),
    ],
)
def test_the_outcome_is_the_exit_code(
    stack: Program, flags: tuple[str, ...], command: str, expected: int
) -> None:
    """The contract's table."""
    assert stack("run", *flags, "--", command).returncode == expected


def test_a_cancelled_job_is_exit_9(stack: Program) -> None:
    """Whoever cancels it."""
    with running(stack.start("run", "--name", "to be cancelled", "--", "echo on; sleep 60")) as run:
        run.until(lambda run: run.out == "on\n")
        jobs = stack.json("jobs", "list", "-q", "to be cancelled")["jobs"]
        assert stack("jobs", "cancel", jobs[0]["job_id"]).returncode == 0
        assert run.wait() == 9


def test_lines_arrive_while_the_job_runs(stack: Program, tmp_path: Path) -> None:
    """The job goes on only after its first line was seen."""
    gate = tmp_path / "gate"
    command = f"echo first; until [ -e {gate} ]; do sleep 0.05; done; echo second"
    with running(stack.start("run", "--", command)) as run:
        run.until(lambda run: run.out == "first\n")
        gate.touch()
        assert run.wait() == 0
        assert run.out == "first\nsecond\n"


def test_an_interrupt_leaves_the_job_alone(stack: Program) -> None:
    """Exit 130, and how to find the job again."""
    with running(stack.start("run", "--", "echo on; sleep 2; echo off")) as run:
        run.until(lambda run: run.out == "on\n")
        assert run.stop(signal.SIGINT) == 130
        job_id = run.err.split("job ")[1].split(" ")[0]
        assert f"reactorcide logs {job_id} --follow" in run.err
    followed = stack("logs", job_id, "--follow")
    assert followed.stdout == "on\noff\n"
    assert stack.json("jobs", "get", job_id)["status"] == "completed"


def test_a_broken_stream_is_taken_up_where_it_broke(on_database: Program, tmp_path: Path) -> None:
    """The API is killed and started again: no line is lost, none comes twice."""
    gate = tmp_path / "gate"
    command = f"seq 1000; until [ -e {gate} ]; do sleep 0.05; done; seq 1000 1999"
    with (
        a_socket() as (listening, url),
        running(on_database.start("worker")),
    ):
        token = on_database.json("token", "create", "--user", "ann")["token"]
        client = on_database.having(API_URL=url, API_TOKEN=token)
        with (
            served(on_database, listening) as api,
            running(client.start("run", "--", command)) as run,
        ):
            run.until(lambda run: run.out.endswith("1000\n"))
            api.stop(signal.SIGKILL)
            with served(on_database, listening):
                gate.touch()
                assert run.wait() == 0
            assert run.out.split() == [str(n) for n in (*range(1, 1001), *range(1000, 2000))]


def test_a_revoked_token_ends_the_stream(stack: Program) -> None:
    """Not a second longer than the contract allows; exit 4."""
    made = stack.json("token", "create", "--user", "root")
    client = stack.having(API_TOKEN=made["token"])
    with running(client.start("run", "--", "echo on; sleep 20")) as run:
        run.until(lambda run: run.out == "on\n")
        assert stack("token", "revoke", made["token_id"]).returncode == 0
        assert run.wait() == 4


def test_a_secret_is_taken_from_our_own_environment(stack: Program) -> None:
    """So that it need not stand on a command line; it is masked in the log."""
    client = Program(stack.home, {**stack.variables, "PASSPHRASE": "open sesame"})
    done = client("run", "--secret-env", "PASSPHRASE", "--", 'echo "<$PASSPHRASE>"')
    assert done.returncode == 0
    assert "open sesame" not in done.stdout
    refused = stack("run", "--secret-env", "NOWHERE", "--", "true")
    assert refused.returncode == 2
    assert "NOWHERE" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "echo", "hi"),
        ("run", "--"),
        ("run", "--", "  "),
        ("run", "--env", "NOVALUE", "--", "true"),
        ("run", "--priority", "high", "--", "true"),
        ("run", "--priority", "5000", "--", "true"),
        ("run", "--queue", "No Such", "--", "true"),
        ("run", "--timeout", "0", "--", "true"),
        ("run", "--key", "line\nbreak", "--", "true"),
        ("run", "--name", "", "--max-attempts", "0", "--", "true"),
    ],
)
def test_invalid_input_is_exit_2(stack: Program, arguments: tuple[str, ...]) -> None:
    """Whether we see it or the API does; without a traceback."""
    done = stack(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_bytes_that_are_no_text_are_refused(stack: Program) -> None:
    """An argument that is not UTF-8."""
    done = stack("run", "--", b"echo \xff".decode("utf-8", "surrogateescape"))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_key_submits_once(stack: Program) -> None:
    """`--key` is the API's Idempotency-Key."""
    first = stack("submit", "--key", "once", "--", "echo once")
    again = stack("submit", "--key", "once", "--", "echo once")
    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert stack("submit", "--key", "once", "--", "echo other").returncode == 2


@pytest.mark.parametrize(
    "stdin",
    [
        "name: n\njob_command: echo file\nrun_at: 2001-01-01T00:00:00Z\n",
        '{"name": "n", "job_command": "echo file"}',
    ],
)
def test_a_job_is_submitted_from_a_file(stack: Program, tmp_path: Path, stdin: str) -> None:
    """JSON or YAML, from a file or standard input; options override it."""
    file = tmp_path / "job"
    file.write_text(stdin)
    for arguments in (("submit", str(file)), ("submit", "-")):
        done = stack(*arguments, "--label", "a=b", "--name", "renamed", "-o", "json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        job = json.loads(done.stdout)
        assert (job["name"], job["job_command"]) == ("renamed", "echo file")


def test_a_call_of_a_handler_is_submitted(stack: Program) -> None:
    """By its name and its args; the job is called after it."""
    done = stack(
        "submit",
        "--handler",
        "mail.send",
        "--args",
        '{"to": null}',
        "--queue",
        "none",
        "-o",
        "json",
    )
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["name"], job["handler"], job["args"]) == ("mail.send", "mail.send", {"to": None})
    assert job["job_command"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--handler", "a", "--args", "{"), "--args is not JSON"),
        (("--handler", "a", "--", "true"), "/job_command"),
        (("--args", "1", "--", "true"), "/args"),
        (("--args", "1"), "give either"),
    ],
)
def test_a_call_that_makes_no_sense_is_exit_2(
    stack: Program, arguments: tuple[str, ...], words: str
) -> None:
    """A command and a handler both, args without a handler, args that are no JSON."""
    done = stack("submit", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize("stdin", ["[1, 2]", "a: [", "just words", "", "1: 2", b"\xff"])
def test_a_file_that_holds_no_job_is_exit_2(stack: Program, stdin: str | bytes) -> None:
    """One line says what is wrong."""
    done = stack("submit", "-", stdin=stdin, encoding=None)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_unknown_fields_are_named(stack: Program) -> None:
    """The API's pointer is shown."""
    done = stack("submit", "-", stdin='{"name": "n", "job_command": "true", "colour": "red"}')
    assert done.returncode == 2
    assert "/colour" in done.stderr


def _is_over(stack: Program, job_id: str) -> bool:
    return bool(stack.json("jobs", "get", job_id)["status"] == "completed")


def test_submit_prints_the_id(stack: Program) -> None:
    """And nothing else, so that a script can use it."""
    job_id = stack("submit", "--", "true").stdout.strip()
    until(lambda: _is_over(stack, job_id))
