"""The words that docker and podman are given: what each of the two understands, and no other's.

A small program in their place writes down what it is asked, and runs nothing: here the engine's
behaviour is not the claim, only the line that it gets.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.container import Containers, ContainerSettings
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.environment import environment_of, mark_of
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command, CommandNotStarted, Stream
from reactorcide.worker.walls import WalledRunner
from reactorcide.worker.workspace import make_workspace

RECORDER: Final = """\
#!/bin/sh
{ for word in "$0" "$@"; do printf '%s\\0' "$word"; done; echo; } >> RECORD
case "$1 $2" in "container inspect") exit 1;; esac
"""


class Deaf:
    """Hears nothing."""

    async def write(self, _stream: Stream, _data: bytes) -> None:
        """Take it."""


@pytest.mark.parametrize("engine", ["docker", "podman"])
async def test_an_engine_gets_only_what_it_understands(
    engine: str, tmp_path: Path, runner: ProcessRunner
) -> None:
    """The image is there, the container has walls, and no secret is in any word."""
    record, programs = tmp_path / "record", tmp_path / "bin"
    programs.mkdir()
    (programs / engine).write_text(RECORDER.replace("RECORD", str(record)))
    (programs / engine).chmod(0o755)
    walls = Containers(
        ContainerSettings(
            engine=engine, image="debian:12", network=False, options=("--memory=1g",)
        ),
        {"PATH": f"{programs}:/bin", "HOME": str(tmp_path), "DATABASE_PASSWORD": "hunter2"},
    )
    await walls.check(runner)
    workspace, key = make_workspace(tmp_path / "workspaces"), AttemptKey(new_id(), 1)
    submitted = request("echo hello", job_env_vars={"PLAIN": "seen"})
    environment = environment_of(
        key=key, worker_id=new_id(), submitted=submitted, secrets={"TOKEN": "sesame"},
        workspace=workspace,
    )  # fmt: skip
    argv, cwd = ("sh", "-c", "echo hello"), workspace.path_of(submitted.job_dir)
    command = Command(argv, cwd, environment, mark_of(*key), workspace, None)
    with pytest.raises(CommandNotStarted):  # nothing ran
        await WalledRunner(runner, walls).run(command, Deaf(), Halt())
    asked = [line.strip("\0").split("\0")[1:] for line in record.read_text().splitlines() if line]
    (run,) = [words for words in asked if words[0] == "run"]
    assert [words[0] for words in asked][:2] == ["info", "ps"]
    assert ["image", "inspect", "debian:12"] in asked
    assert {
        "--rm", f"--name=reactorcide-{key.job_id}-1", "--pull=never", "--log-driver=none",
        "--security-opt=no-new-privileges", "--network=none", "--memory=1g", "--workdir=/",
    } <= set(run)  # fmt: skip
    assert (("--http-proxy=false" in run), "debian:12" in run) == (engine == "podman", True)
    assert run.index("--") == run.index("debian:12") - 1
    assert any(word.startswith("--volume=") and word.endswith(":/job") for word in run)
    said = json.dumps(asked)
    assert "sesame" not in said
    assert "hunter2" not in said
