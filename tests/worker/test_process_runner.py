"""A command runs in an environment of its own, is stopped when asked, and leaves nothing."""

import asyncio
import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import lives
from reactorcide.worker.environment import PATH, mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, CommandNotStarted, Exit, Stream
from reactorcide.worker.supervisor.supervision import SUPERVISORS


class Heard:
    """Keeps what a command printed."""

    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""
        self.grew = asyncio.Event()

    async def write(self, stream: Stream, data: bytes) -> None:
        """Keep it."""
        if stream == "stdout":
            self.stdout += data
        else:
            self.stderr += data
        self.grew.set()

    async def line(self) -> bytes:
        """Return the first whole line of stdout once it is there."""
        async with asyncio.timeout(10):
            while b"\n" not in self.stdout:
                self.grew.clear()
                await self.grew.wait()
        return self.stdout.split(b"\n")[0]


class Counted:
    """Only counts what a command printed."""

    def __init__(self) -> None:
        self.bytes = 0

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Count it."""
        self.bytes += len(data)


def command(text: str, folder: Path, **environment: str) -> Command:
    """Return a shell command that runs in a folder with next to no environment."""
    mark = mark_of(new_id(), 1)
    marks = dict(entry.split("=", 1) for entry in mark)
    return Command(("sh", "-c", text), folder, {"PATH": PATH, **marks, **environment}, mark)


async def run(runner: ProcessRunner, text: str, folder: Path) -> tuple[Exit, Heard]:
    """Run to the end."""
    heard = Heard()
    async with asyncio.timeout(30):
        return await runner.run(command(text, folder), heard, Halt()), heard


def children_of(pid: int) -> str:
    """Return the children of a process that has one thread."""
    return (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text()


async def eventually(claim: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until a claim holds."""
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110  what other programs do rings no event here
            await asyncio.sleep(0.01)


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


async def test_both_streams_are_heard_apart(runner: ProcessRunner, tmp_path: Path) -> None:
    """Bytes of one never show in the other."""
    _, heard = await run(runner, "echo out; echo err >&2", tmp_path)
    assert (heard.stdout, heard.stderr) == (b"out\n", b"err\n")


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


async def test_any_bytes_come_through(runner: ProcessRunner, tmp_path: Path) -> None:
    """Every value of a byte, invalid UTF-8 included, and no newline at the end."""
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 1000)
    assert (await run(runner, "cat bytes", tmp_path))[1].stdout == bytes(range(256)) * 1000


async def test_the_first_byte_is_heard_while_the_command_runs(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Without waiting for a line, a block or the end."""
    heard, halt = Heard(), Halt()
    running = asyncio.create_task(
        runner.run(command("printf x; exec sleep 60", tmp_path), heard, halt)
    )
    await eventually(lambda: heard.stdout == b"x")
    halt.ask(HaltReason.CANCEL, 0)
    await running


async def test_a_hundred_megabytes_pass_through_little_memory(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """The pipe is read as fast as its bytes are taken."""
    counted = Counted()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = "head -c 100000000 /dev/zero"
    ended = await runner.run(command(text, tmp_path), counted, Halt())
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (ended.exit_code, counted.bytes) == (0, 100_000_000)
    assert grown_kib < 16 * 1024


class Slow:
    """Takes the first bytes when it is told to, and the others then."""

    def __init__(self) -> None:
        self.was_called = asyncio.Event()
        self.may_take = asyncio.Event()
        self.bytes = 0

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Count it."""
        self.was_called.set()
        await self.may_take.wait()
        self.bytes += len(data)


async def test_a_slow_reader_slows_the_command(runner: ProcessRunner, tmp_path: Path) -> None:
    """What has not been taken waits in the command, and all of it comes."""
    slow = Slow()
    text = "head -c 3000000 /dev/zero; echo 1 > printed"
    running = asyncio.create_task(runner.run(command(text, tmp_path), slow, Halt()))
    await slow.was_called.wait()
    assert not (tmp_path / "printed").exists()
    slow.may_take.set()
    assert await running == Exit(0, was_halted=False)
    assert slow.bytes == 3_000_000


async def test_a_command_is_stopped_while_nobody_takes_its_output(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """What it printed before is kept for when somebody does."""
    slow, halt = Slow(), Halt()
    text = "echo $$ > pid; echo one; echo two >&2; exec sleep 300"
    running = asyncio.create_task(runner.run(command(text, tmp_path), slow, halt))
    await slow.was_called.wait()
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: (Path("/proc") / str(pid) / "comm").read_text() == "sleep\n")
    halt.ask(HaltReason.CANCEL, 0)
    await eventually(lambda: not lives(pid))
    assert not running.done()
    slow.may_take.set()
    assert (await running).was_halted
    assert slow.bytes == len("one\ntwo\n")


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
    """And not later."""
    heard, halt = Heard(), Halt()
    text = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    running = asyncio.create_task(runner.run(command(text, tmp_path), heard, halt))
    await heard.line()
    began = time.monotonic()
    halt.ask(HaltReason.TIMEOUT, 0.3)
    assert await running == Exit(128 + 9, was_halted=True)
    assert 0.25 < time.monotonic() - began < 3


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
    async with asyncio.timeout(3):
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
    began = time.monotonic()
    whole = f"exec 3>pid; {text}\nwhile [ ! -s pid ]; do sleep 0.01; done"
    ended, _ = await run(runner, whole, tmp_path)
    assert ended.exit_code == 0
    assert time.monotonic() - began < 5
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


class Refusing:
    """Takes nothing."""

    async def write(self, _stream: Stream, _data: bytes) -> None:
        """Refuse."""
        raise BufferError


async def test_an_output_that_refuses_ends_the_command(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """It is not left to wait for somebody to read what it prints."""
    refused = command("echo $$ > pid; echo x; exec sleep 300", tmp_path)
    with pytest.raises(BufferError):
        await asyncio.wait_for(runner.run(refused, Refusing(), Halt()), 10)
    assert not lives(int((tmp_path / "pid").read_text()))


async def test_a_command_may_close_its_outputs_and_go_on(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Its end is its end, not the end of what it prints."""
    ended, _ = await run(runner, "exec >&- 2>&-; sleep 0.1; exit 5", tmp_path)
    assert ended == Exit(5, was_halted=False)
