"""Commands end in time whatever becomes of the worker or its supervisor, and nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from reactorcide.tests.worker.commands_at_work import Heard, children_of, command, eventually
from reactorcide.tests.worker.jobs_at_work import lives
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import CommandLost, Exit
from reactorcide.worker.supervisor.clock import boot_seconds
from reactorcide.worker.supervisor.supervision import SUPERVISORS

PUT_ASIDE: Final = {
    "plain": "echo $$ > pid; exec sleep 300",
    "double fork, session, nohup, no environment": (
        "(setsid nohup env -i /bin/sh -c 'echo $$ > pid; exec /bin/sleep 300'"
        " >/dev/null 2>&1 </dev/null &) ; sleep 300"
    ),
}
"""Commands that write whom to look for into `pid`."""

WORKER: Final = """
import asyncio, sys
from pathlib import Path
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command
from reactorcide.worker.supervisor.clock import boot_seconds

class Nowhere:
    async def write(self, stream, data):
        pass

async def main():
    runner, until = ProcessRunner(), boot_seconds() + float(sys.argv[2])
    command = Command(("sh", "-c", sys.argv[1]), Path.cwd(), {"PATH": "/usr/bin:/bin"}, ("one",))
    await runner.run(command, Nowhere(), Halt(until))

asyncio.run(main())
"""


@contextmanager
def worker_of(text: str, folder: Path, seconds: float = 600) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command under a worker that can be killed, with a lease so long; it is not renewed."""
    words = [sys.executable, "-c", WORKER, text, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".ns")}
    with subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True) as worker:
        try:
            yield worker
        finally:
            worker.kill()


async def pid_in(folder: Path) -> int:
    """Wait for the pid that a command writes down."""
    file = folder / "pid"
    await eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def supervisor_of(worker: int) -> int:
    """Return the pid of a worker's only child."""
    return int(children_of(worker))


@pytest.mark.parametrize("text", PUT_ASIDE.values(), ids=list(PUT_ASIDE))
@pytest.mark.parametrize("whole_group", [False, True])
async def test_a_killed_workers_command_dies(
    text: str, tmp_path: Path, *, whole_group: bool
) -> None:
    """Within moments, wherever it put itself, and its supervisor with it."""
    with worker_of(text, tmp_path) as worker:
        pid = await pid_in(tmp_path)
        supervisor = supervisor_of(worker.pid)
        if whole_group:
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
        await eventually(lambda: not lives(pid) and not lives(supervisor))


@pytest.mark.parametrize("text", PUT_ASIDE.values(), ids=list(PUT_ASIDE))
async def test_a_stopped_workers_command_dies_before_its_lease_ends(
    text: str, tmp_path: Path
) -> None:
    """The supervisor needs nobody to tell it the time."""
    with worker_of(text, tmp_path, seconds=2) as worker:
        pid = await pid_in(tmp_path)
        worker.send_signal(signal.SIGSTOP)
        await eventually(lambda: not lives(pid))


async def test_a_supervisor_hears_no_signal_that_the_worker_may_be_sent(tmp_path: Path) -> None:
    """A terminal's, or a system's that stops: the worker drains, its commands go on."""
    with worker_of(PUT_ASIDE["plain"], tmp_path) as worker:
        pid = await pid_in(tmp_path)
        supervisor = supervisor_of(worker.pid)
        assert os.getsid(supervisor) not in {os.getsid(worker.pid), os.getsid(0)}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(supervisor, number)
        assert lives(supervisor)
        assert lives(pid)


async def test_a_killed_supervisors_command_ends_and_the_next_one_runs(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Put-aside children too; what it printed is there; the worker is not hurt."""
    heard = Heard()
    text = f"echo said; {PUT_ASIDE['double fork, session, nohup, no environment']}"
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, Halt()))
    pid = await pid_in(tmp_path)
    (supervisor,) = SUPERVISORS
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(CommandLost, match="supervisor"):
        await asyncio.wait_for(running, 30)
    assert not lives(pid)
    assert heard.stdout == b"said\n"
    ended = await runner.run(command("exit 3", tmp_path), heard, Halt())
    assert ended == Exit(3, was_halted=False)
    assert supervisor not in SUPERVISORS


async def test_a_supervisor_that_hangs_is_killed_with_its_commands(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is not held up by it."""
    monkeypatch.setattr("reactorcide.worker.process_runner._ANSWER_SECONDS", 0.2)
    halt = Halt()
    running = asyncio.create_task(runner.run(command(PUT_ASIDE["plain"], tmp_path), Heard(), halt))
    pid = await pid_in(tmp_path)
    (supervisor,) = SUPERVISORS
    os.kill(supervisor, signal.SIGSTOP)
    halt.ask(HaltReason.CANCEL, 0)
    with pytest.raises(CommandLost):
        await asyncio.wait_for(running, 30)
    assert not lives(pid)


async def test_a_command_whose_time_is_over_is_not_started(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """The worker may have slept between the start it recorded and the start it asks for."""
    halt = Halt(boot_seconds() - 1)
    ended = await runner.run(command("touch started", tmp_path), Heard(), halt)
    assert (ended.was_halted, halt.reason) == (True, HaltReason.LOST)
    assert not (tmp_path / "started").exists()


async def test_a_command_that_is_held_on_to_goes_on_and_a_lost_one_does_not(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Each by its own attempt; who asks for neither ends with its time."""
    words = {name: command(f"echo $$ > {name}; exec sleep 300", tmp_path) for name in "abc"}
    halts = {name: Halt(boot_seconds() + 3) for name in words}
    tasks = {
        name: asyncio.create_task(runner.run(words[name], Heard(), halts[name])) for name in words
    }
    await eventually(lambda: all((tmp_path / name).exists() for name in words))
    marks = {name: " ".join(words[name].mark) for name in words}
    runner.hold(boot_seconds() + 600, [marks["a"]], [marks["b"]])
    assert (await asyncio.wait_for(tasks["b"], 30)).was_halted
    assert (await asyncio.wait_for(tasks["c"], 30)).was_halted
    assert [halts[name].reason for name in "abc"] == [None, HaltReason.LOST, HaltReason.LOST]
    assert not tasks["a"].done()
    halts["a"].ask(HaltReason.CANCEL, 0)
    assert (await tasks["a"]).exit_code == 137


IGNORES_TERM: Final = (
    "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 0.05; done' &"
    " while :; do sleep 0.05; done"
)


@pytest.mark.parametrize("grace_seconds", [0, 0.3])
@pytest.mark.parametrize("reason", [HaltReason.CANCEL, HaltReason.TIMEOUT])
async def test_a_tree_that_ignores_term_is_killed(
    runner: ProcessRunner, tmp_path: Path, reason: HaltReason, grace_seconds: float
) -> None:
    """All of it, when the grace is over and not before."""
    halt = Halt()
    running = asyncio.create_task(runner.run(command(IGNORES_TERM, tmp_path), Heard(), halt))
    pid = await pid_in(tmp_path)
    began = time.monotonic()
    halt.ask(reason, grace_seconds)
    assert await asyncio.wait_for(running, 30) == Exit(137, was_halted=True)
    assert time.monotonic() - began >= grace_seconds
    assert not lives(pid)


async def test_fifty_commands_at_once_end_each_as_it_does(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Their outputs are whole, in order, and not each other's; put-aside children are gone."""
    text = (
        "(setsid env -i sh -c 'exec /bin/sleep 300' >/dev/null 2>&1 &); "
        "i=0; while [ $i -lt 200 ]; do echo $N $i; i=$((i+1)); done; exit $N"
    )
    heard = [Heard() for _ in range(50)]
    ends = await asyncio.gather(
        *(
            runner.run(command(text, tmp_path, N=str(number)), heard[number], Halt())
            for number in range(50)
        )
    )
    assert [end.exit_code for end in ends] == list(range(50))
    for number, one in enumerate(heard):
        assert one.stdout.decode().splitlines() == [f"{number} {line}" for line in range(200)]
    (supervisor,) = SUPERVISORS
    await eventually(lambda: not children_of(supervisor))


async def test_one_that_lowers_its_limits_dies_with_the_last_it_may_belong_to(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """And takes no other command with it."""
    other, halt = Heard(), Halt()
    running = asyncio.create_task(
        runner.run(command("echo up; exec sleep 300", tmp_path), other, halt)
    )
    await other.line()
    text = "prlimit --rttime=5000000 setsid sh -c 'echo $$ > pid; exec sleep 300' & "
    ended = await runner.run(command(text + "sleep 0.3", tmp_path), Heard(), Halt())
    pid = await pid_in(tmp_path)
    assert ended.exit_code == 0
    assert not running.done()
    halt.ask(HaltReason.CANCEL, 0)
    await running
    await eventually(lambda: not lives(pid))


async def test_a_tree_that_forks_all_the_time_ends(runner: ProcessRunner, tmp_path: Path) -> None:
    """Faster than anybody can look at it."""
    text = "hop() { (hop &) ; }; echo $$ > pid; hop; sleep 300"
    halt = Halt()
    running = asyncio.create_task(runner.run(command(text, tmp_path), Heard(), halt))
    await pid_in(tmp_path)
    halt.ask(HaltReason.CANCEL, 0)
    assert (await asyncio.wait_for(running, 30)).was_halted
    (supervisor,) = SUPERVISORS
    await eventually(lambda: not children_of(supervisor))


async def test_closing_leaves_nothing(tmp_path: Path) -> None:
    """Neither the supervisor nor what it still runs; whoever waits is told."""
    runner = ProcessRunner()
    running = asyncio.create_task(
        runner.run(command(PUT_ASIDE["plain"], tmp_path), Heard(), Halt())
    )
    pid = await pid_in(tmp_path)
    (supervisor,) = SUPERVISORS
    await runner.close()
    assert not lives(pid)
    assert not lives(supervisor)
    assert not SUPERVISORS
    with pytest.raises(CommandLost):
        await running


async def test_many_commands_are_divided_between_two(tmp_path: Path) -> None:
    """When one dies, its commands are lost and killed; those of the other go on and are heard."""
    runner, halt = ProcessRunner(8), Halt()
    runner.prepare()
    supervisors = sorted(SUPERVISORS)
    try:
        assert len(supervisors) == 2
        heard = [Heard() for _ in range(8)]
        running = [
            asyncio.create_task(runner.run(command("echo up; exec sleep 300", tmp_path), one, halt))
            for one in heard
        ]
        for one in heard:
            await one.line()
        divided = [children_of(supervisor).split() for supervisor in supervisors]
        assert [len(pids) for pids in divided] == [4, 4]
        os.kill(supervisors[0], signal.SIGKILL)
        await eventually(lambda: sum(task.done() for task in running) == 4)
        assert not any(lives(int(pid)) for pid in divided[0])
        assert all(lives(int(pid)) for pid in divided[1])
        halt.ask(HaltReason.CANCEL, 0)
        ends = await asyncio.gather(*running, return_exceptions=True)
        assert sum(isinstance(end, CommandLost) for end in ends) == 4
        assert sum(isinstance(end, Exit) and end.was_halted for end in ends) == 4
    finally:
        await runner.close()
    assert not SUPERVISORS


def test_the_supervisor_is_small() -> None:
    """It imports next to nothing, and none of what the worker needs."""
    heavy = {"asyncio", "asyncpg", "logging", "pydantic", "structlog", "subprocess", "pathlib"}
    text = f"import sys, reactorcide.worker.supervisor.__main__; print({heavy} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".ns")}
    said = subprocess.check_output([sys.executable, "-c", text], env=environment, text=True)
    assert said == "set()\n"
