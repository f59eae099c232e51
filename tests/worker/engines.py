"""What the tests of runners with walls need of this machine; nothing of it is left behind."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

IMAGE: Final = "localhost/reactorcide-test:1"

_CONTAINERS_CONF: Final = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_COMMANDS: Final = (
    "sh ls cat id env sleep printenv touch rm kill wc head pwd setsid nohup echo ps true"
)


def podman_settings(folder: Path) -> dict[str, str]:
    """Return variables for a podman that keeps everything below `folder`.

    An empty dict, and why under "": it can't be used here.
    """
    busybox = shutil.which("busybox")
    if shutil.which("podman") is None or busybox is None:
        return {"": "podman and a static busybox are not both installed here"}
    runtime = next((name for name in ("runc", "crun") if shutil.which(name)), None)
    if runtime is None:
        return {"": "podman has no runtime (runc or crun) here"}
    (folder / "containers.conf").write_text(f'{_CONTAINERS_CONF}runtime = "{runtime}"\n')
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    settings = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    _import_image(folder, busybox, settings)
    tried = podman(settings, "run", "--rm", "--network=none", IMAGE, "true")
    if tried.returncode != 0:
        return {"": f"podman cannot run a container here: {tried.stderr[-300:]!r}"}
    return settings


def podman(settings: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    """Run podman with these settings."""
    return subprocess.run(
        ["podman", *words],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _import_image(folder: Path, busybox: str, settings: dict[str, str]) -> None:
    """Make an image of one program; no registry is asked."""
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in _COMMANDS.split():
        (root / "bin" / name).symlink_to("busybox")
    archive = shutil.make_archive(str(folder / "image"), "tar", root)
    podman(settings, "import", "--quiet", archive, IMAGE)


def leave(settings: dict[str, str], folder: Path) -> None:
    """Remove all of it, and what containers may have left mounted, should a test have failed."""
    if "" not in settings:
        podman(settings, "rm", "--all", "--force", "--time=0")
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:  # podman may still tidy up in it
        shutil.rmtree(folder, ignore_errors=True)
