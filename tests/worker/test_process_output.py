"""What a command prints is heard as it comes: all of it, in order, and as slowly as it is taken."""

import asyncio
import resource
from pathlib import Path

import pytest

from reactorcide.tests.worker.commands_at_work import Heard, command, eventually, run
from reactorcide.tests.worker.jobs_at_work import lives
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Exit, Stream


class Counted:
    """Only counts what a command printed."""

    def __init__(self) -> None:
        self.bytes = 0

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Count it."""
        self.bytes += len(data)


async def test_both_streams_are_heard_apart(runner: ProcessRunner, tmp_path: Path) -> None:
    """Bytes of one never show in the other."""
    _, heard = await run(runner, "echo out; echo err >&2", tmp_path)
    assert (heard.stdout, heard.stderr) == (b"out\n", b"err\n")


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
        await asyncio.wait_for(runner.run(refused, Refusing(), Halt()), 30)
    assert not lives(int((tmp_path / "pid").read_text()))


async def test_a_command_may_close_its_outputs_and_go_on(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """Its end is its end, not the end of what it prints."""
    ended, _ = await run(runner, "exec >&- 2>&-; sleep 0.1; exit 5", tmp_path)
    assert ended == Exit(5, was_halted=False)
