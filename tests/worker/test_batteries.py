"""Small ones of the batteries that stop and kill workers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reactorcide.tests.support.server import roomy_root

BATTERIES = [
    (
        "stops --stops 1 --workers 3 --lease 2",
        ("accepted_stale_writes", "late_chunks", "illegal_transitions", "overlaps"),
    ),
    (
        "takeovers --deaths 2 --workers 3 --lease 2",
        ("accepted_stale_writes", "overlaps"),
    ),
]


@pytest.mark.parametrize(("words", "never"), BATTERIES)
def test_a_small_battery_finds_nothing(words: str, never: tuple[str, ...]) -> None:
    """The commands of a worker stopped or killed are dead before they run again, and they do."""
    done = subprocess.run(
        [sys.executable, "-m", *f"reactorcide.benchmarks.{words}".split()],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ".ns", "TMPDIR": str(roomy_root())},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    figures: dict[str, Any] = json.loads(done.stdout or "{}")
    assert figures, done.stderr
    assert [figures[name] for name in (*never, "not_run_again")] == [0] * (len(never) + 1)
