"""A program starts with what it is given and with nothing else of this process."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from reactorcide.worker import spawning
from reactorcide.worker.environment import PATH

Start: TypeAlias = Callable[[list[str], Path, Mapping[str, str], tuple[int, int]], int]

pytestmark = pytest.mark.parametrize("start", [spawning.start, spawning.start_by_subprocess])


def said(start: Start, text: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Return how a shell command ended and what it printed, which is not much."""
    with ExitStack() as stack:
        ends = [os.pipe(), os.pipe()]
        readers = [stack.enter_context(os.fdopen(reading)) for reading, _ in ends]
        argv, given = ["sh", "-c", text], {"PATH": PATH, **environment}
        try:
            pid = start(argv, folder, given, (ends[0][1], ends[1][1]))
        finally:
            for _, writing in ends:
                os.close(writing)
        printed = [reader.read() for reader in readers]
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed[0], printed[1]


def test_it_runs_in_its_directory_and_ends_as_it_ends(start: Start, tmp_path: Path) -> None:
    """With both outputs apart."""
    assert said(start, "pwd; echo err >&2; exit 7", tmp_path) == (7, f"{tmp_path}\n", "err\n")


def test_no_descriptor_of_ours_is_open_in_it(start: Start, tmp_path: Path) -> None:
    """Not even one that is inheritable, as those are that this process was born with."""
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)  # noqa: FBT003  its parameter has no name
        code, out, _ = said(start, "ls -l /proc/self/fd", tmp_path)
    assert (code, "ours" in out) == (0, False)


def test_a_broken_pipe_kills_it_as_it_would_anywhere(start: Start, tmp_path: Path) -> None:
    """Python ignores that signal, and whoever it starts must not."""
    assert said(start, "kill -PIPE $$; echo alive", tmp_path)[:2] == (-signal.SIGPIPE, "")


def test_any_text_gets_into_its_environment(start: Start, tmp_path: Path) -> None:
    """Umlauts, lines, equals signs."""
    text = "ä=ö\nü $x 'y'"
    assert said(start, 'printf %s "$TEXT"', tmp_path, TEXT=text)[1] == text


def test_programs_are_looked_for_where_its_environment_says(start: Start, tmp_path: Path) -> None:
    """In its own directory too; what is no program there does not count."""
    (tmp_path / "none" / "sh").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "bin" / "sh").chmod(0o700)
    assert said(start, "echo theirs", tmp_path, PATH="none:bin")[1] == "mine\n"
    with pytest.raises(OSError, match="sh"):
        said(start, "echo nobody's", tmp_path, PATH="none:missing")


def test_a_missing_directory_is_named(start: Start, tmp_path: Path) -> None:
    """It is not the program that is missing."""
    with pytest.raises(FileNotFoundError) as caught:
        said(start, "true", tmp_path / "missing")
    assert str(caught.value.filename) == str(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "environment"), [("tr\0ue", {}), ("true", {"A": "\0"}), ("true", {"A=B": ""})]
)
def test_what_no_program_can_be_given_is_refused(
    text: str, environment: dict[str, str], start: Start, tmp_path: Path
) -> None:
    """And not cut short."""
    with pytest.raises(ValueError, match=r"null byte|illegal"):
        said(start, text, tmp_path, **environment)
