"""A command that a shell would only start is started without one, and nobody can tell."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.tests.worker.commands_at_work import run
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.supervisor.plain import plain_words

WHOLE = st.text(st.characters(max_codepoint=0x17F), max_size=30)
LIKELY = st.text("/abc.0_-+:,@%= '\"$~\\*?[]{}()<>|&;!#`\n\t", max_size=30)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/bin/true", ["/bin/true"]),
        (" ./run.sh  --to=a,b x@y:1 100%\n", ["./run.sh", "--to=a,b", "x@y:1", "100%"]),
    ],
)
def test_plain_words_are_known_as_such(command: str, words: list[str]) -> None:
    """A program by its path, and words that mean themselves."""
    assert plain_words(["sh", "-c", command]) == words


@pytest.mark.parametrize(
    "command",
    [
        "", "true", "cd /tmp", "A=/bin/true", "~/run", "/bin/echo $HOME", "/bin/echo ~",
        "/bin/echo *", "/bin/echo a\n/bin/echo b", "/bin/true & /bin/true", "/bin/true #",
        "/bin/echo 'a'", "/bin/echo a\tb", "/bin/echo {a,b}", "/bin/[ a", "! /bin/true", "/bin/",
    ],
)  # fmt: skip
def test_what_a_shell_may_read_otherwise_is_left_to_it(command: str) -> None:
    """Builtins, expansions, quotes, lists, comments."""
    assert plain_words(["sh", "-c", command]) is None


@given(command=WHOLE | LIKELY)
def test_plain_words_are_what_any_shell_makes_of_a_command(command: str) -> None:
    """The rules of quoting say the same, and nothing is left that expands."""
    words = plain_words(["sh", "-c", command])
    if words is not None:
        assert words == shlex.split(command, comments=True)
        assert not set("".join(words)) & set("\"'\\$`*?[]{}()<>|&;!#~\n\t")


async def test_it_is_not_started_by_a_shell(runner: ProcessRunner, tmp_path: Path) -> None:
    """Whose child it would be, and whose name it would have had first."""
    _, heard = await run(runner, "/usr/bin/env", tmp_path)
    assert f"PWD={tmp_path}".encode() in heard.stdout.splitlines()
    (tmp_path / "who").write_text('#!/bin/sh\necho $$ "$(ps -o sid= -p $$)"\n')
    (tmp_path / "who").chmod(0o700)
    pid, session = (await run(runner, "./who", tmp_path))[1].stdout.split()
    assert pid == session


@pytest.mark.parametrize("kind", ["missing", "not executable", "no first line", "directory"])
async def test_what_cannot_be_started_is_said_by_the_shell(
    runner: ProcessRunner, tmp_path: Path, kind: str
) -> None:
    """With its exit codes and its words; a script without `#!` runs."""
    program = tmp_path / "program"
    if kind == "directory":
        program.mkdir()
    elif kind != "missing":
        program.write_text('echo "$0 $1"; exit 3\n')
        program.chmod(0o700 if kind == "no first line" else 0o600)
    plain, told = await run(runner, "./program one", tmp_path)
    quoted, told_quoted = await run(runner, "'./program' one", tmp_path)
    assert plain == quoted
    assert (told.stdout, told.stderr) == (told_quoted.stdout, told_quoted.stderr)
