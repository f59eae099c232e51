"""A command runs in an environment of its own, and how it ended is told as it was."""

import os
import resource
from pathlib import Path

import pytest

from reactorcide.tests.worker.commands_at_work import Heard, command, run
from reactorcide.worker.environment import PATH
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, CommandNotStarted, Exit


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
async def test_the_exit_code_is_the_commands(
    runner: ProcessRunner, code: int, tmp_path: Path
) -> None:
    """Whatever it is."""
    assert (await run(runner, f"exit {code}", tmp_path))[0] == Exit(code, was_halted=False)


@pytest.mark.parametrize("number", [9, 11, 15])
async def test_a_command_killed_by_a_signal_has_128_and_its_number(
    runner: ProcessRunner, number: int, tmp_path: Path
) -> None:
    """As a shell says it."""
    assert (await run(runner, f"kill -{number} $$", tmp_path))[0].exit_code == 128 + number


async def test_the_environment_is_the_given_one_only(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the worker's own gets in."""
    monkeypatch.setenv("WORKERS_PASSWORD", "hunter2")
    _, heard = await run(runner, "env", tmp_path)
    names = {line.split(b"=")[0] for line in heard.stdout.splitlines()}
    assert names <= {b"PATH", b"REACTORCIDE_JOB_ID", b"REACTORCIDE_ATTEMPT", b"PWD", b"_", b"SHLVL"}


async def test_standard_input_is_empty(runner: ProcessRunner, tmp_path: Path) -> None:
    """A command that reads does not hang."""
    assert (await run(runner, "cat; echo done", tmp_path))[1].stdout == b"done\n"


async def test_the_command_leads_a_session_of_its_own(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """So that it and its group can be stopped without the worker."""
    _, heard = await run(runner, "echo $$ $(ps -o sid= -p $$)", tmp_path)
    pid, session = heard.stdout.split()
    assert pid == session != str(os.getsid(0)).encode()


async def test_without_descriptors_left_a_command_is_said_not_to_start(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """And those that were got are given back."""
    await run(runner, "true", tmp_path)
    before = _descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for left in (0, 1, 2, 3):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_first_free() + left, hard))
        try:
            with pytest.raises(CommandNotStarted, match="Too many open files"):
                await run(runner, "true", tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert _descriptors() == before


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def _first_free() -> int:
    """Return the number that the next descriptor gets."""
    free = os.dup(0)
    os.close(free)
    return free


async def test_a_command_that_cannot_start_is_said_to_be_so(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """No such directory, no such program, a NUL in it: one clear reason."""
    for wrong in (
        command("true", tmp_path / "missing"),
        Command(("no-such-program",), tmp_path, {"PATH": PATH}, ()),
        command("tr\0ue", tmp_path),
        command("true", tmp_path, TOO_LONG="x" * 200_000),
    ):
        with pytest.raises(CommandNotStarted, match="could not be started"):
            await runner.run(wrong, Heard(), Halt())
