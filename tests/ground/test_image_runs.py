"""The container image, built and run: its commands, its user, its health.

Only where an engine and the base image are at hand: nothing is asked of a registry, save the
packages that the build installs.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from reactorcide.cli.embedded import SETTINGS, EmbeddedPostgres

pytestmark = [pytest.mark.slow, pytest.mark.image]

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "localhost/reactorcide-under-test"
BUILD_SECONDS: Final = 900
KEY: Final = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
CERTIFICATES: Final = "/etc/ssl/certs"


def base_image() -> str:
    """Return the image that the Dockerfile starts from."""
    text = (ROOT / "Dockerfile").read_text()
    version = re.search(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
    assert version
    return f"docker.io/library/python:{version[1]}-slim"


@pytest.fixture(scope="module")
def engine() -> str:
    """An engine that has the base image, and can run it."""
    for name in ("podman", "docker"):
        if shutil.which(name) is None:
            continue
        tried = (
            [name, "image", "inspect", base_image()],  # first, for `run` would ask a registry
            [name, "run", "--rm", "--network=none", base_image(), "true"],
        )
        if all(_succeeds(command) for command in tried):
            return name
    pytest.skip(f"neither podman nor docker can run {base_image()} here")


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def image(engine: str) -> Iterator[str]:
    """The image, built from the checkout."""
    of_podman = ("--format", "docker", "--pull=never") if engine == "podman" else ()
    certificates = (
        ("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--env", f"PIP_CERT={cert}")
        if engine == "podman" and (cert := os.environ.get("PIP_CERT"))
        else ()
    )
    subprocess.run(
        [engine, "build", *of_podman, *certificates, "--network=host", "--tag", IMAGE, ROOT],
        check=True,
        timeout=BUILD_SECONDS,
    )
    yield IMAGE
    subprocess.run([engine, "image", "rm", "--force", IMAGE], capture_output=True, check=False)


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, Path]]:
    """A server whose door everybody may open: its URI inside a container, and the door's folder."""
    with TemporaryDirectory() as folder:
        server = EmbeddedPostgres(
            Path(folder), settings={**SETTINGS, "unix_socket_permissions": "0777"}
        )
        try:
            parts = urlsplit(server.start())
            door = Path(parse_qs(parts.query)["host"][0])
            door.chmod(0o755)
            yield parts._replace(query="host=/postgres").geturl(), door
        finally:
            server.stop()


@pytest.fixture(scope="module")
def run(
    engine: str, image: str, database: tuple[str, Path]
) -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """Run a container of the image against the database; the detached ones end with the tests."""
    uri, door = database
    detached: list[str] = []

    def start(*words: str, name: str | None = None) -> "subprocess.CompletedProcess[str]":
        if name:
            detached.append(name)
        kind = ("--detach", "--name", name) if name else ("--rm",)
        shut = ("--cap-drop=ALL", "--read-only", "--volume", f"{door}:/postgres")
        settings = (f"REACTORCIDE_DB_URI={uri}", f"REACTORCIDE_SECRET_KEY={KEY}")
        environment = [word for setting in settings for word in ("--env", setting)]
        return subprocess.run(
            [engine, "run", *kind, *shut, *environment, image, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    yield start
    for name in detached:
        subprocess.run([engine, "rm", "--force", name], capture_output=True, check=False)


def test_a_job_runs_from_image_to_image(
    engine: str, run: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    """Schema, API and worker are one image with three commands."""

    def inside(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [engine, "exec", "reactorcide-test-api", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    migrated = run("migrate", "up")
    assert migrated.returncode == 0, migrated.stderr
    served = run(name="reactorcide-test-api")
    assert served.returncode == 0, served.stderr
    worked = run("worker", name="reactorcide-test-worker")
    assert worked.returncode == 0, worked.stderr

    deadline = time.monotonic() + 60
    while inside("reactorcide", "healthcheck").returncode != 0:
        assert time.monotonic() < deadline, "the API is not ready"

    made = inside(
        "reactorcide", "token", "create", "--user", "root", "--role", "admin", "-o", "json"
    )
    assert made.returncode == 0, made.stderr
    login = f"REACTORCIDE_API_TOKEN={json.loads(made.stdout)['token']}"
    ran = inside("env", login, "reactorcide", "run", "--", "echo hello; id -u")
    assert (ran.returncode, ran.stdout.split()) == (0, ["hello", "10001"]), ran.stderr

    tools = inside("sh", "-c", "command -v pip pip3 gcc cc make")
    assert tools.stdout == ""

    stopped = subprocess.run(
        [engine, "stop", "--time", "20", "reactorcide-test-worker"], check=False
    )
    state = subprocess.run(
        [engine, "inspect", "--format", "{{.State.ExitCode}}", "reactorcide-test-worker"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (stopped.returncode, state.stdout.strip()) == (0, "0")
