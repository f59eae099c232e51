"""A command is stopped when asked, and whatever it has put aside dies with it."""

import asyncio
import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from reactorcide.tests.worker.commands_at_work import Heard, children_of, command, eventually, run
from reactorcide.tests.worker.jobs_at_work import lives
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Exit
from reactorcide.worker.supervisor.supervision import SUPERVISORS


async def test_a_halt_lets_the_command_end_by_itself_first(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """TERM reaches it, and its own exit code counts."""
    heard, halt = Heard(), Halt()
    text = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    await heard.line()
    halt.ask(HaltReason.CANCEL, 10)
    assert await running == Exit(7, was_halted=True)
    assert heard.stdout == b"ready\nbye\n"


async def test_a_command_that_ignores_term_is_killed_when_its_grace_is_over(
    runner: ProcessRunner,
    tmp_path: Path,
) -> None:
    """And not before."""
    heard, halt = Heard(), Halt()
    text = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    await heard.line()
    began = time.monotonic()
    halt.ask(HaltReason.TIMEOUT, 0.3)
    assert await running == Exit(128 + 9, was_halted=True)
    assert time.monotonic() - began > 0.25


async def test_a_kill_after_a_cancel_does_not_wait_for_its_grace(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """The shorter grace counts, whenever it is asked for."""
    heard, halt = Heard(), Halt()
    text = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    await heard.line()
    halt.ask(HaltReason.CANCEL, 60)
    await eventually(lambda: b"asked" in heard.stdout)
    halt.ask(HaltReason.CANCEL, 0)
    async with asyncio.timeout(30):
        assert (await running).exit_code == 128 + 9


async def test_children_get_the_grace_too(runner: ProcessRunner, tmp_path: Path) -> None:
    """A child that cleans up after TERM is not killed because the shell ended before it."""
    heard, halt = Heard(), Halt()
    text = (
        "(trap 'sleep 0.3; echo cleaned > done; exit' TERM; echo ready; "
        "while :; do sleep 0.05; done) & wait"
    )
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    await heard.line()
    halt.ask(HaltReason.CANCEL, 10)
    await running
    assert (tmp_path / "done").read_text() == "cleaned\n"


LEFT_BEHIND = {
    "background": "sleep 300 & echo $! >&3",
    "nohup": "nohup sleep 300 >/dev/null 2>&1 & echo $! >&3",
    "setsid": "setsid sh -c 'echo $$ >&3; exec sleep 300' &",
    "double fork": "(setsid sh -c 'echo $$ >&3; exec sleep 300' >/dev/null 2>&1 &) ",
    "without environment": "env -i sh -c 'echo $$ >&3; exec /bin/sleep 300' &",
    "stopped": "sleep 300 & kill -STOP $!; echo $! >&3",
    "holds the pipe": "setsid sh -c 'echo $$ >&3; exec sleep 300' & sleep 0.1",
    "ignores signals": "sh -c 'trap \"\" TERM HUP; echo $$ >&3; while :; do sleep 1; done' &",
}


@pytest.mark.parametrize("text", LEFT_BEHIND.values(), ids=list(LEFT_BEHIND))
async def test_what_a_command_leaves_dies_with_it(
    runner: ProcessRunner, text: str, tmp_path: Path
) -> None:
    """However it was put aside; and the command's end is not held up by it."""
    whole = f"exec 3>pid; {text}\nwhile [ ! -s pid ]; do sleep 0.01; done"
    ended, _ = await run(runner, whole, tmp_path)
    assert ended.exit_code == 0
    assert not lives(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("text", LEFT_BEHIND.values(), ids=list(LEFT_BEHIND))
async def test_what_a_command_put_aside_dies_when_it_is_killed(
    runner: ProcessRunner, text: str, tmp_path: Path
) -> None:
    """At a halt as at the end."""
    halt = Halt()
    whole = f"exec 3>pid; {text}\nexec sleep 300"
    running = asyncio.create_task(runner.run(command(whole, tmp_path), Heard(), halt))
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    halt.ask(HaltReason.CANCEL, 0)
    assert (await running).was_halted
    assert not lives(int((tmp_path / "pid").read_text()))


async def test_no_zombie_is_left(runner: ProcessRunner, tmp_path: Path) -> None:
    """The exit status of orphans is taken as well."""
    await run(runner, "for i in 1 2 3 4 5; do (setsid sleep 0.01 &) ; done; sleep 0.1", tmp_path)
    await run(runner, "(setsid sleep 300 &)", tmp_path)
    (supervisor,) = SUPERVISORS
    await eventually(lambda: not children_of(supervisor))


async def test_a_child_that_somebody_else_bore_is_left_to_them(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Its exit status is theirs to take, whenever it was born."""
    running = asyncio.create_task(
        run(runner, "touch runs; while [ ! -e go ]; do sleep 0.01; done", tmp_path)
    )
    await eventually((tmp_path / "runs").exists)
    other = subprocess.Popen(["sh", "-c", "exit 3"])  # noqa: ASYNC220  it is the point
    await eventually(lambda: not lives(other.pid))
    (tmp_path / "go").touch()
    await running
    assert other.wait() == 3


async def test_a_cancelled_run_kills_at_once(runner: ProcessRunner, tmp_path: Path) -> None:
    """The worker's own end is the command's end."""
    heard = Heard()
    running = asyncio.create_task(
        runner.run(command("echo $$; exec sleep 300", tmp_path), heard, Halt())
    )
    pid = int(await heard.line())
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert not lives(pid)


async def test_one_commands_end_spares_the_others(runner: ProcessRunner, tmp_path: Path) -> None:
    """Each dies with its own attempt only, put-aside children included."""
    heard, halt = Heard(), Halt()
    text = "setsid sh -c 'echo $$; exec sleep 300' & wait"
    other = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    pid = int(await heard.line())
    await run(runner, "sleep 300 &", tmp_path)
    assert lives(pid)
    halt.ask(HaltReason.CANCEL, 0)
    await other
    assert not lives(pid)
