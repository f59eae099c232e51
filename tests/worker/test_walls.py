"""Runners with walls: what a command sees inside, what it does not, and that it ends."""

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from reactorcide.tests.worker.jobs_at_work import eventually
from reactorcide.tests.worker.walls_at_work import (
    HOLD,
    At,
    Holders,
    inside_of,
    plain_runner,
    says,
    walls_of,
)
from reactorcide.worker.bubblewrap import Bubblewrap
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.runner import CommandNotStarted, Exit
from reactorcide.worker.walls import Walls, WallsUnusable
from reactorcide.worker.workspace import Workspace

pytestmark = pytest.mark.usefixtures("runners_end")


@pytest.fixture(params=["bubblewrap", "container"])
async def walls(request: pytest.FixtureRequest, podman_here: dict[str, str]) -> Walls:
    """Each kind that works here."""
    return await walls_of(request.param, podman_here)


async def test_the_workspace_is_at_job(walls: Walls, workspace: Workspace) -> None:
    """To read and to write, with the artifacts and the temporary files."""
    (workspace.source / "file").write_text("hello\n")
    at = At(
        walls,
        workspace,
        'pwd; cat /job/src/file; a="$REACTORCIDE_ARTIFACTS_DIR"; '
        'echo "$REACTORCIDE_WORKSPACE $a $TMPDIR $HOME"; '
        'echo made > "$a/a"; echo made > "$HOME/b"; echo made > "$TMPDIR/c"',
    )
    assert await at.run() == Exit(0, was_halted=False)
    assert at.printed.text == "/job/src\nhello\n/job /artifacts /tmp /job\n"
    for path in (workspace.artifacts / "a", workspace.job / "b", workspace.temporary / "c"):
        assert path.read_text() == "made\n"
        assert path.stat().st_uid == os.getuid()


async def test_the_host_is_hidden(walls: Walls, workspace: Workspace, tmp_path: Path) -> None:
    """Neither files nor processes nor the worker's own environment are to be seen."""
    (tmp_path / "secret").write_text("hunter2")
    at = At(
        walls,
        workspace,
        f"cat {tmp_path}/secret; ls /root /home /var/lib /job/..; ls -d /proc/[0-9]* | wc -l; env",
    )
    await at.run()
    assert "hunter2" not in at.printed.text
    assert str(tmp_path.parent) not in at.printed.text.replace(f"{tmp_path}/secret", "")
    assert ".bashrc" not in at.printed.text
    count = next(int(line) for line in at.printed.text.splitlines() if line.isdigit())
    assert count < 12
    assert "CONTAINERS_CONF" not in at.printed.text


@pytest.mark.parametrize("code", [1, 127])
async def test_the_exit_code_is_the_commands(walls: Walls, workspace: Workspace, code: int) -> None:
    """Whatever the walls make of theirs."""
    assert (await At(walls, workspace, f"exit {code}").run()).exit_code == code


async def test_a_signal_shows_in_the_exit_code(walls: Walls, workspace: Workspace) -> None:
    """As 128 and its number."""
    assert (await At(walls, workspace, "kill -KILL $$").run()).exit_code == 137


async def test_any_variable_comes_through(walls: Walls, workspace: Workspace) -> None:
    """With line breaks, quotes and spaces, and long ones."""
    values = {
        "LINES_": "a\nb\n",
        "QUOTES": 'it\'s "$HOME" `x` \\',
        "SPACES": "  x  ",
        "LONG": "y" * 100_000,
        "with.dot": "z",
        "LD_PRELOAD": "",
        "DOCKER_HOST": "tcp://192.0.2.1:1",
        "CONTAINERS_CONF": "/nowhere",
        "EMPTY": "",
    }
    at = At(
        walls,
        workspace,
        'printf "[%s]" "$LINES_" "$QUOTES" "$SPACES" "${#LONG}" "$DOCKER_HOST" "${EMPTY-unset}"',
        job_env_vars=values,
    )
    assert (await at.run()).exit_code == 0
    shown = [*(values[name] for name in ("LINES_", "QUOTES", "SPACES")), "100000"]
    expected = "".join(f"[{text}]" for text in [*shown, values["DOCKER_HOST"], ""])
    assert at.printed.text == expected


async def test_a_jobs_variables_never_reach_what_builds_the_walls(
    walls: Walls, workspace: Workspace
) -> None:
    """LD_PRELOAD would run the job's code outside of them."""
    at = At(
        walls, workspace, "true", job_env_vars={"LD_PRELOAD": "/job/src/evil.so", "X": "hunter2"}
    )
    async with walls.around(inside_of(at), plain_runner(), Halt()) as outer:
        assert "LD_PRELOAD" not in outer.environment
        assert "hunter2" not in " ".join((*outer.argv, *outer.environment.values()))


async def test_term_reaches_the_command_which_may_take_its_time(
    walls: Walls, workspace: Workspace
) -> None:
    """A command that catches TERM tidies up within its grace."""
    at = At(
        walls, workspace, "trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    )
    running = asyncio.create_task(at.run())
    await eventually(says(at, "ready"))
    at.halt.ask(HaltReason.CANCEL, 20)
    ended = await running
    assert ended == Exit(3, was_halted=True)
    assert "tidied\n" in at.printed.text


async def test_nothing_outlives_a_kill(
    walls: Walls, workspace: Workspace, holders: Holders
) -> None:
    """Not what left its session and ignores every signal."""
    at = At(
        walls,
        workspace,
        f"{HOLD}trap '' TERM HUP;"
        " setsid sh -c 'echo >&9; echo ready; while :; do sleep 0.05; done' & sleep 60",
    )
    running = asyncio.create_task(at.run())
    await eventually(says(at, "ready"))
    at.halt.ask(HaltReason.CANCEL, 0)
    assert (await running).was_halted
    assert holders.are_gone()


async def test_what_a_command_leaves_ends_with_it(
    walls: Walls, workspace: Workspace, holders: Holders
) -> None:
    """At once, without any stop being asked for."""
    left = "echo >&9; touch /tmp/here; while :; do sleep 0.05; done"
    wait = "until [ -e /tmp/here ]; do sleep 0.01; done"
    at = At(walls, workspace, f"{HOLD}setsid sh -c '{left}' & {wait}; exit 4")
    assert (await at.run()).exit_code == 4
    assert holders.are_gone()


async def test_a_cancelled_runner_leaves_nothing(
    walls: Walls, workspace: Workspace, holders: Holders
) -> None:
    """The worker itself is being stopped."""
    at = At(walls, workspace, f"{HOLD}echo >&9; echo ready; while :; do sleep 0.05; done")
    running = asyncio.create_task(at.run())
    await eventually(says(at, "ready"))
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert holders.are_gone()


async def test_a_missing_directory_is_no_exit_code(walls: Walls, workspace: Workspace) -> None:
    """The command never ran."""
    with pytest.raises(CommandNotStarted, match="/job/missing"):
        await At(walls, workspace, "true", job_dir="/job/missing").run()


# Bubblewrap


async def test_the_hosts_programs_are_there_to_read_only(
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """And nothing at all can be written outside of the workspace."""
    walls = await walls_of("bubblewrap", podman_here)
    at = At(
        walls, workspace, "ls /usr/bin/env; for d in / /usr /etc /run; do touch $d/x; done; id -u"
    )
    await at.run()
    assert at.printed.text.startswith("/usr/bin/env\n")
    assert at.printed.text.count("Read-only file system") == 4


async def test_the_network_can_be_taken_away(
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """Nothing but the loopback is left then."""
    walls = await walls_of("bubblewrap", podman_here, network=False)
    at = At(walls, workspace, "cat /proc/net/dev")
    await at.run()
    assert [
        line for line in at.printed.text.splitlines() if ":" in line and "lo:" not in line
    ] == []


async def test_bubblewrap_dies_with_whoever_started_it(
    podman_here: dict[str, str], workspace: Workspace, holders: Holders
) -> None:
    """A worker that is killed takes it along."""
    walls = await walls_of("bubblewrap", podman_here)
    at = At(walls, workspace, f"{HOLD}echo >&9; while :; do sleep 0.05; done")

    async def are_gone() -> bool:
        return holders.are_gone()

    async def have_come() -> bool:
        return holders.are_gone() or holders.have_come

    async with walls.around(inside_of(at), plain_runner(), Halt()) as outer:
        parent = subprocess.Popen(  # noqa: ASYNC220  it returns at once
            ["sh", "-c", '"$@" & wait', "sh", *outer.argv], env=dict(outer.environment)
        )
        await eventually(have_come)
        parent.kill()
        parent.wait()
        await eventually(are_gone)


async def test_a_machine_without_bubblewrap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any job is taken."""
    monkeypatch.setattr("reactorcide.worker.bubblewrap.PATH", "/nowhere")
    with pytest.raises(WallsUnusable, match="not installed"):
        await Bubblewrap(network=True).check(plain_runner())


async def test_what_a_command_puts_in_the_place_of_its_exit_code_is_no_trap(
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """A pipe there would be waited on for ever."""
    walls = await walls_of("bubblewrap", podman_here)
    at = At(walls, workspace, "mkfifo /tmp/.reactorcide-exit; exit 6")
    assert (await at.run()).exit_code == 6
