"""Runners with walls: what a command sees inside, what it does not, and that it ends."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.engines import IMAGE, leave, podman, podman_settings
from reactorcide.tests.worker.jobs_at_work import eventually, lives, request
from reactorcide.worker.bubblewrap import Bubblewrap
from reactorcide.worker.container import Containers, ContainerSettings, is_dead, this_worker
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.environment import environment_of, mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, CommandNotStarted, Exit, Stream
from reactorcide.worker.walls import Inside, WalledRunner, Walls, WallsUnusable
from reactorcide.worker.workspace import Workspace, make_workspace


@pytest.fixture(scope="module")
def podman_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of a podman of these tests' own."""
    settings = podman_settings(tmp_path_factory.mktemp("podman"))
    yield settings
    leave(settings)


_CHECKED: set[str] = set()


_opened: list[ProcessRunner] = []


def plain_runner() -> ProcessRunner:
    """Return a runner that is closed when the test ends."""
    _opened.append(ProcessRunner())
    return _opened[-1]


@pytest.fixture(autouse=True)
async def _ends() -> AsyncIterator[None]:
    yield
    while _opened:
        await _opened.pop().close()


async def walls_of(name: str, podman_here: dict[str, str], **changes: Any) -> Walls:
    """Return walls that work here, or skip."""
    walls: Walls
    if name == "bubblewrap":
        walls = Bubblewrap(network=changes.get("network", True))
    else:
        if "" in podman_here:
            pytest.skip(podman_here[""])
        wanted = {"engine": "podman", "image": IMAGE, "network": False, **changes}
        walls = Containers(ContainerSettings(**wanted), {**os.environ, **podman_here})
    try:
        if name not in _CHECKED or changes:
            await walls.check(plain_runner())
        _CHECKED.add(name)
    except WallsUnusable as error:
        pytest.skip(error.detail)
    return walls


@pytest.fixture(params=["bubblewrap", "container"])
async def walls(request: pytest.FixtureRequest, podman_here: dict[str, str]) -> Walls:
    """Each kind that works here."""
    return await walls_of(request.param, podman_here)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace."""
    return make_workspace(tmp_path / "workspaces")


class Printed:
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.text = ""

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Take it."""
        self.text += data.decode()


class At:
    """One command at work within walls."""

    def __init__(self, walls: Walls, workspace: Workspace, script: str, **fields: Any) -> None:
        key = AttemptKey(new_id(), 1)
        submitted = request(script, **fields)
        environment = environment_of(
            key=key, worker_id=new_id(), submitted=submitted, secrets={}, workspace=workspace
        )
        self.key = key
        cwd = workspace.path_of(submitted.job_dir)
        mark = mark_of(*key)
        argv = ("sh", "-c", script)
        image = submitted.runner_image
        self.command = Command(argv, cwd, environment, mark, workspace, image)
        self.printed = Printed()
        self.halt = Halt()
        self._runner = WalledRunner(plain_runner(), walls)

    async def run(self) -> Exit:
        """Run to its end."""
        async with asyncio.timeout(60):
            return await self._runner.run(self.command, self.printed, self.halt)


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
    async with walls.around(_inside_of(at), plain_runner(), Halt()) as outer:
        assert "LD_PRELOAD" not in outer.environment
        assert "hunter2" not in " ".join((*outer.argv, *outer.environment.values()))


def _inside_of(at: At) -> Inside:
    from reactorcide.worker.walls import _inside  # noqa: PLC0415  what `run` begins with

    return _inside(at.command)


async def test_term_reaches_the_command_which_may_take_its_time(
    walls: Walls, workspace: Workspace
) -> None:
    """A command that catches TERM tidies up within its grace."""
    at = At(
        walls, workspace, "trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    )
    running = asyncio.create_task(at.run())
    await eventually(_says(at, "ready"))
    at.halt.ask(HaltReason.CANCEL, 20)
    ended = await running
    assert ended == Exit(3, was_halted=True)
    assert "tidied\n" in at.printed.text


def _says(at: At, text: str) -> Any:
    async def look() -> bool | None:
        return text in at.printed.text or None

    return look


async def test_nothing_outlives_a_kill(walls: Walls, workspace: Workspace) -> None:
    """Not what left its session and ignores every signal."""
    at = At(
        walls,
        workspace,
        "trap '' TERM HUP; setsid nohup sh -c 'while :; do touch /tmp/alive; sleep 0.05; done' &"
        " echo ready; sleep 60",
    )
    running = asyncio.create_task(at.run())
    await eventually(_says(at, "ready"))
    at.halt.ask(HaltReason.CANCEL, 0)
    assert (await running).was_halted
    await _nothing_is_alive(workspace)


async def test_what_a_command_leaves_ends_with_it(walls: Walls, workspace: Workspace) -> None:
    """At once, without any stop being asked for."""
    at = At(
        walls,
        workspace,
        "setsid sh -c 'while :; do touch /tmp/alive; sleep 0.05; done' & sleep 0.2; exit 4",
    )
    assert (await at.run()).exit_code == 4
    await _nothing_is_alive(workspace)


async def test_a_cancelled_runner_leaves_nothing(walls: Walls, workspace: Workspace) -> None:
    """The worker itself is being stopped."""
    at = At(walls, workspace, "echo ready; while :; do touch /tmp/alive; sleep 0.05; done")
    running = asyncio.create_task(at.run())
    await eventually(_says(at, "ready"))
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await _nothing_is_alive(workspace)


async def _nothing_is_alive(workspace: Workspace) -> None:
    """Whatever wrote a file all the time writes no more."""
    alive = workspace.temporary / "alive"
    alive.unlink(missing_ok=True)
    await asyncio.sleep(0.3)
    assert not alive.exists()


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
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """A worker that is killed takes it along."""
    walls = await walls_of("bubblewrap", podman_here)
    at = At(walls, workspace, "while :; do touch /tmp/alive; sleep 0.05; done")
    async with walls.around(_inside_of(at), plain_runner(), Halt()) as outer:
        parent = subprocess.Popen(  # noqa: ASYNC220  it returns at once
            ["sh", "-c", '"$@" & wait', "sh", *outer.argv], env=dict(outer.environment)
        )
        alive = workspace.temporary / "alive"

        async def is_alive() -> bool | None:
            return alive.exists() or None

        await eventually(is_alive)
        parent.kill()
        parent.wait()

        async def is_gone() -> bool | None:
            alive.unlink(missing_ok=True)
            await asyncio.sleep(0.2)
            return not alive.exists() or None

        await eventually(is_gone)


async def test_a_machine_without_bubblewrap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any job is taken."""
    monkeypatch.setattr("reactorcide.worker.bubblewrap.PATH", "/nowhere")
    with pytest.raises(WallsUnusable, match="not installed"):
        await Bubblewrap(network=True).check(plain_runner())


# Containers


async def test_an_image_that_does_not_exist_is_a_clear_failure(
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """The command never ran; so is a job without any image."""
    walls = await walls_of("container", podman_here)
    with pytest.raises(CommandNotStarted, match=r"localhost:1/no-such-image.*not to be had") as why:
        await At(walls, workspace, "true", runner_image="localhost:1/no-such-image").run()
    assert "level=warning" not in str(why.value)
    with pytest.raises(CommandNotStarted, match="no image's name"):
        await At(walls, workspace, "true", runner_image="--privileged").run()
    without = await walls_of("container", podman_here, image=None)
    with pytest.raises(CommandNotStarted, match="names no runner_image"):
        await At(without, workspace, "true").run()


async def test_what_a_command_puts_in_the_place_of_its_exit_code_is_no_trap(
    podman_here: dict[str, str], workspace: Workspace
) -> None:
    """A pipe there would be waited on for ever."""
    walls = await walls_of("bubblewrap", podman_here)
    at = At(walls, workspace, "mkfifo /tmp/.reactorcide-exit; exit 6")
    assert (await at.run()).exit_code == 6


async def test_no_container_is_left(podman_here: dict[str, str], workspace: Workspace) -> None:
    """Of one that ended, and of one that was killed."""
    walls = await walls_of("container", podman_here)
    await At(walls, workspace, "true").run()
    at = At(walls, workspace, "echo ready; sleep 60")
    running = asyncio.create_task(at.run())
    await eventually(_says(at, "ready"))
    assert str(at.key.job_id) in podman(podman_here, "ps", "--format={{.Names}}").stdout
    at.halt.ask(HaltReason.LOST, 0)
    await running
    assert podman(podman_here, "ps", "-aq").stdout == ""


async def test_a_dead_workers_containers_are_removed_at_the_start(
    podman_here: dict[str, str],
) -> None:
    """And nobody else's."""
    await walls_of("container", podman_here)
    child = subprocess.Popen(["true"])  # noqa: ASYNC220  it returns at once
    host, boot, space, *_ = this_worker().split("/")
    child.wait()
    dead = "/".join((host, boot, space, str(child.pid), "1"))
    for name, label in (("old", dead), ("ours", this_worker()), ("other", "elsewhere/a/b/1/1")):
        started = podman(
            podman_here,
            *("run", "--detach", "--network=none", f"--name={name}"),
            *(f"--label=reactorcide.worker={label}", IMAGE, "sleep", "60"),
        )
        assert started.returncode == 0, started.stderr
    try:
        await walls_of("container", podman_here, image=None)
        names = podman(podman_here, "ps", "-a", "--format={{.Names}}").stdout.split()
        assert sorted(names) == ["other", "ours"]
    finally:
        podman(podman_here, "rm", "--force", "--time=0", "old", "ours", "other")


def test_a_worker_is_dead_when_its_process_is_another() -> None:
    """Or its machine was started again; of another machine's nobody knows."""
    host, boot, space, pid, born = this_worker().split("/")
    assert not is_dead(this_worker())
    assert is_dead("/".join((host, boot, space, pid, born + "0")))
    assert is_dead(f"{host}/earlier/{space}/{pid}/{born}")
    assert not is_dead(f"elsewhere/earlier/{space}/1/1")
    assert not is_dead(f"{host}/{boot}/0/{pid}/1")
    assert not is_dead("nonsense")


async def test_a_machine_without_an_engine_says_so() -> None:
    """Before any job is taken."""
    with pytest.raises(WallsUnusable, match="not installed"):
        await Containers(ContainerSettings(), {"PATH": "/nowhere"}).check(plain_runner())
    assert lives(os.getpid())
