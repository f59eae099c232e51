"""Walls by containers: their images, and that none is left by whoever made it."""

import asyncio
import os
import subprocess

import pytest

from reactorcide.tests.worker.engines import IMAGE, podman
from reactorcide.tests.worker.jobs_at_work import eventually, lives
from reactorcide.tests.worker.walls_at_work import At, plain_runner, says, walls_of
from reactorcide.worker.container import Containers, ContainerSettings, is_dead, this_worker
from reactorcide.worker.halt import HaltReason
from reactorcide.worker.runner import CommandNotStarted
from reactorcide.worker.walls import WallsUnusable
from reactorcide.worker.workspace import Workspace

pytestmark = pytest.mark.usefixtures("runners_end")


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


async def test_no_container_is_left(podman_here: dict[str, str], workspace: Workspace) -> None:
    """Of one that ended, and of one that was killed."""
    walls = await walls_of("container", podman_here)
    await At(walls, workspace, "true").run()
    at = At(walls, workspace, "echo ready; sleep 60")
    running = asyncio.create_task(at.run())
    await eventually(says(at, "ready"))
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
