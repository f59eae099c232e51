"""Control groups are found where they are, hold what was born in them, and leave nothing."""

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.commands_at_work import Heard, command, eventually, run
from reactorcide.tests.worker.jobs_at_work import lives
from reactorcide.tests.worker.test_supervisor import PUT_ASIDE, pid_in, supervisor_of, worker_of
from reactorcide.worker import spawning
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.supervisor.cgroups import Groups
from reactorcide.worker.supervisor.group import Group, NoGroup
from reactorcide.worker.supervisor.group_places import (
    divisible_place,
    place_for_groups,
    places_in,
)
from reactorcide.worker.supervisor.supervision import SUPERVISORS

PLACE: Final = divisible_place()
divisible = pytest.mark.skipif(PLACE is None, reason="no writable cgroup v2 of this process")
births = pytest.mark.skipif(
    place_for_groups() is None,
    reason="no writable cgroup v2 of this process, or no posix_spawnattr_setcgroup_np (glibc 2.39)",
)

MOUNT: Final = "30 23 0:26 {root} {point} rw,relatime shared:9 - {kind} none rw"


@pytest.mark.parametrize(
    ("root", "point", "group", "place"),
    [
        ("/", "/sys/fs/cgroup", "/", "/sys/fs/cgroup"),
        ("/", "/sys/fs/cgroup/unified", "/a.slice/b", "/sys/fs/cgroup/unified/a.slice/b"),
        ("/docker/1", "/sys/fs/cgroup", "/docker/1", "/sys/fs/cgroup"),
        ("/docker/1", "/sys/fs/cgroup", "/docker/1/x", "/sys/fs/cgroup/x"),
        ("/docker/1", "/sys/fs/cgroup", "/docker/12", None),
        ("/", "/sys/fs/cgroup", "/../other", None),
        ("/../other", "/sys/fs/cgroup", "/", None),
        (r"/a\040b", r"/mnt/c\134d", "/a b/e f", r"/mnt/c\d/e f"),
    ],
)
def test_a_group_is_found_where_a_mount_shows_it(
    root: str, point: str, group: str, place: str | None
) -> None:
    """Whichever part of the hierarchy that mount shows; hybrid hosts have v1 beside it."""
    mounts = "\n".join(
        (
            MOUNT.format(root="/", point="/sys/fs/cgroup/memory", kind="cgroup"),
            MOUNT.format(root=root, point=point, kind="cgroup2"),
        )
    )
    membership = f"2:memory:/elsewhere\n0::{group}\n"
    assert places_in(mounts, membership) == ([] if place is None else [place])


def test_without_the_second_version_there_is_no_group() -> None:
    """Neither mounted nor a member."""
    mounted = MOUNT.format(root="/", point="/sys/fs/cgroup", kind="cgroup2")
    assert places_in(mounted, "1:name=systemd:/\n") == []
    assert places_in("", "0::/\n") == []


def test_where_groups_cannot_be_had_there_are_none(tmp_path: Path) -> None:
    """Without any error: what else is known of a command has to do."""
    for place in (None, str(tmp_path), str(tmp_path / "missing")):
        groups = Groups(place)
        assert type(groups.new(1)) is NoGroup
        assert groups.end()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def place() -> Iterator[Path]:
    """Lend a group of our own to make others in."""
    path = Path(str(PLACE)) / f"tests-{new_id()}"
    path.mkdir()
    yield path
    group = Group(str(path))
    group.kill()
    group.remove()


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Lend a process that does nothing."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def dead_pid() -> int:
    """Return the pid of a process that is gone."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def put(process: "subprocess.Popen[bytes]", group: Path) -> None:
    """Move a process into a group, which is made."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text(str(process.pid))


@divisible
def test_a_groups_members_are_told_killed_and_then_it_goes(
    place: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """Those of the groups that it made within it too; nobody is left out of its end."""
    groups = Groups(str(place))
    group = groups.new(7)
    (path,) = place.glob("*/7")
    put(sleeper, path / "inner" / "most")
    assert group.pids() == {sleeper.pid}
    assert not group.is_empty()
    group.remove()
    assert path.exists()
    group.kill()
    assert sleeper.wait(30) == -signal.SIGKILL
    assert group.is_empty()
    group.remove()
    assert not path.exists()
    assert (group.pids(), group.is_empty()) == (set(), True)
    assert groups.end()
    assert not [entry for entry in place.iterdir() if entry.is_dir()]


@divisible
async def test_the_end_of_a_supervisor_ends_all_of_its_groups(
    place: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """And says no sooner that nobody is left."""
    groups = Groups(str(place))
    groups.new(1)
    home = place / f"reactorcide-{os.getpid()}"
    put(sleeper, home / "1")
    await eventually(groups.end, 30)
    assert sleeper.wait(30) == -signal.SIGKILL
    assert not home.exists()


@divisible
def test_what_a_dead_supervisor_left_dies_with_the_next_start(
    place: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """Its groups are gone as well; nothing else is touched."""
    stale, other = place / f"reactorcide-{dead_pid()}", place / "reactorcide-not"
    other.mkdir()
    put(sleeper, stale / "1")
    groups = Groups(str(place))
    assert sleeper.wait(30) == -signal.SIGKILL
    assert not stale.exists()
    assert other.exists()
    assert groups.end()


@divisible
def test_what_a_supervisor_holds_is_nobody_elses_to_bury(
    place: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """In another pid namespace its pid may be nobody's here: its lock says that it lives."""
    held = place / f"reactorcide-{dead_pid()}"
    put(sleeper, held / "1")
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert Groups(str(place)).end()
    os.close(lock)
    assert sleeper.poll() is None
    assert held.exists()


def home_of(supervisor: int) -> Path:
    """Return the group that a supervisor makes for its commands."""
    return Path(str(PLACE)) / f"reactorcide-{supervisor}"


@births
def test_a_program_is_born_in_the_group_that_it_is_given(place: Path) -> None:
    """No moment outside: it reads so itself, first of all."""
    groups = Groups(str(place))
    reading, writing = os.pipe()
    with groups.new(3).opened() as descriptor, open(reading) as said:  # noqa: PTH123
        argv = ["cat", "/proc/self/cgroup"]
        environment = {"PATH": os.environ["PATH"]}
        pid = spawning.start(argv, "/", environment, (writing, writing), descriptor)
        os.close(writing)
        (own,) = (line for line in said.read().splitlines() if line.startswith("0::"))
    assert os.waitpid(pid, 0)[1] == 0
    assert own.endswith(f"/{place.name}/reactorcide-{os.getpid()}/3")
    assert groups.end()


@births
def test_a_program_that_may_not_be_born_there_is_born_elsewhere(tmp_path: Path) -> None:
    """A directory that is no group stands for all that the kernel refuses."""
    reading, writing = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    pid = spawning.start(["/bin/sh", "-c", "exit 5"], "/", {}, (writing, writing), folder)
    for descriptor in (reading, writing, folder):
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


@births
async def test_a_command_has_a_group_while_it_runs(runner: ProcessRunner, tmp_path: Path) -> None:
    """And none after; the supervisor's own goes with it."""
    ended, heard = await run(runner, "cat /proc/self/cgroup; exit 3", tmp_path)
    (supervisor,) = SUPERVISORS
    assert ended.exit_code == 3
    assert f"/reactorcide-{supervisor}/1\n".encode() in heard.stdout
    home = home_of(supervisor)
    assert not [entry for entry in home.iterdir() if entry.is_dir()]
    await runner.close()
    assert not home.exists()


ESCAPED: Final = (
    "(prlimit --rttime=5000000 setsid nohup env -i /bin/sh -c"
    " 'trap \"\" TERM; echo $$ > pid; while :; do /bin/sleep 1; done'"
    " >/dev/null 2>&1 </dev/null &); while [ ! -s pid ]; do sleep 0.05; done; "
)
"""Leaves a child behind: session, environment, parent and limits are not the command's."""


@births
@pytest.mark.parametrize("ending", ["exit 0", "exec sleep 300"])
async def test_one_that_escaped_all_else_dies_with_its_command(
    ending: str, runner: ProcessRunner, tmp_path: Path
) -> None:
    """Before its end is told, and not with the last command that ran beside it."""
    beside, halt, own_halt = Heard(), Halt(), Halt()
    other = asyncio.create_task(
        runner.run(command("echo up; exec sleep 300", tmp_path), beside, halt)
    )
    await beside.line()
    running = asyncio.create_task(
        runner.run(command(ESCAPED + ending, tmp_path), Heard(), own_halt)
    )
    pid = await pid_in(tmp_path)
    if ending != "exit 0":
        assert lives(pid)
        own_halt.ask(HaltReason.CANCEL, 0.3)
    await asyncio.wait_for(running, 30)
    assert not lives(pid)
    assert not other.done()
    halt.ask(HaltReason.CANCEL, 0)
    await other


@births
async def test_a_killed_supervisors_groups_are_buried(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """With one that escaped all else in them."""
    text = f"{ESCAPED} exec sleep 300"
    running = asyncio.create_task(runner.run(command(text, tmp_path), Heard(), Halt()))
    pid = await pid_in(tmp_path)
    (supervisor,) = SUPERVISORS
    os.kill(supervisor, signal.SIGKILL)
    (failed,) = await asyncio.gather(running, return_exceptions=True)
    assert "supervisor" in str(failed)
    assert not lives(pid)
    assert not home_of(supervisor).exists()


@births
async def test_what_worker_and_supervisor_left_dies_with_the_next_workers_first_command(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    """When both were killed at the same moment and nobody was there to see to it."""
    with worker_of(PUT_ASIDE["plain"], tmp_path) as worker:
        pid = await pid_in(tmp_path)
        supervisor = supervisor_of(worker.pid)
        worker.send_signal(signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)
        worker.kill()
    await eventually(lambda: not lives(supervisor), 30)
    await run(runner, "true", tmp_path)
    assert not lives(pid)
    assert not home_of(supervisor).exists()
