"""Measurements that are broken off leave no server and no program behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Final

import pytest

from reactorcide.tests.support.server import roomy_root

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at programs in /proc"),
]

LONG: Final = 90.0

CUTS: Final = ("cuts", "--cuts", "100000")
CHAOS: Final = ("chaos", "--jobs", "200", "--workers", "2", "--slots", "1")
ALL: Final = ("__main__", "append")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for all that the measurement makes."""
    with tempfile.TemporaryDirectory(prefix="rc-ending-", dir=roomy_root()) as made:
        Path(made).chmod(0o711)  # the server may run as another user
        yield Path(made)


@pytest.mark.parametrize(
    ("words", "number", "began", "code"),
    [
        pytest.param(CUTS, signal.SIGINT, "**/postgres/data.new", 130, id="while-it-starts"),
        pytest.param(CHAOS, signal.SIGTERM, "**/worker-1/log", 143, id="while-workers-run"),
        pytest.param(ALL, signal.SIGTERM, "**/postmaster.pid", 130, id="by-its-caller"),
    ],
)
def test_a_signal_ends_the_server_and_the_programs_too(
    folder: Path, words: tuple[str, ...], number: int, began: str, code: int
) -> None:
    """As soon as the measurement has begun with something, and before it ends itself."""
    module, *options = words
    started = subprocess.Popen(
        [sys.executable, "-m", f"reactorcide.benchmarks.{module}", *options],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ".ns", "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: _is_there(folder, began) or started.poll() is not None)
        started.send_signal(number)
        assert started.wait(LONG) == code
        assert _programs_of(folder) == []
        assert list(folder.iterdir()) == []
    finally:
        started.kill()
        started.wait()
        for pid in _programs_of(folder):
            os.kill(pid, signal.SIGKILL)


def _is_there(folder: Path, pattern: str) -> bool:
    """Return whether a path is there; pathlib's own glob fails where a directory goes away."""
    return bool(glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207  as said


def _programs_of(folder: Path) -> list[int]:
    """Return the processes that were started with the folder."""
    mark = os.fsencode(folder)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if mark in told:
            found.append(int(process.name))
    return found


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
