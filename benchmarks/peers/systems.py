"""The systems that are measured: how to run each, and when its queue is empty."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reactorcide.benchmarks.peers.install import (
    NotInstalledError,
    node_of_rivals,
    python_of_rivals,
)

OURS: Final = "reactorcide"
FLOOR: Final = "floor"
_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parent.parent
_PACKAGE: Final = __package__


@dataclass(frozen=True, slots=True)
class System:
    """One system, ready to run.

    `words` run its program, which takes a request. `drain_jobs` is what a drain begins with in
    the first round. `is_open` asks its database whether any job has not ended. `worker_words`:
    a worker that is not its program, and is told to end by a signal.
    """

    name: str
    settings: str
    words: tuple[str, ...]
    drain_jobs: int
    is_open: str
    env: Mapping[str, str] = field(default_factory=dict)
    worker_words: tuple[str, ...] | None = None


# Each condition by its own partial index, so that looking costs nothing.
_OURS_OPEN: Final = """
SELECT EXISTS (SELECT FROM jobs WHERE status = 'submitted')
OR EXISTS (SELECT FROM jobs WHERE status = 'queued')
OR EXISTS (SELECT FROM jobs WHERE status IN ('claimed', 'running'))"""
_FLOOR_OPEN: Final = """
SELECT EXISTS (SELECT FROM jobs WHERE status = 'queued')
OR EXISTS (SELECT FROM jobs WHERE status = 'claimed')"""
_PROCRASTINATE_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
)
_PGBOSS_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM pgboss.job WHERE name = 'default' AND state < 'completed')"
)
# These two delete what has ended.
_PGQUEUER_OPEN: Final = "SELECT EXISTS (SELECT FROM pgqueuer)"
_GRAPHILE_OPEN: Final = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)"


def systems(wanted: frozenset[str], leave_out: Callable[[str, str], None]) -> Iterator[System]:
    """Give those of the wanted that run here; `leave_out(name, reason)` is told of the others."""
    for name, make in _MAKERS.items():
        if name in wanted:
            try:
                yield make()
            except NotInstalledError as error:
                leave_out(name, str(error))


def _python(name: str, settings: str, python: Path, drain_jobs: int, is_open: str) -> System:
    words = (str(python), "-m", f"{_PACKAGE}.with_{name}")
    return System(name, settings, words, drain_jobs, is_open, {"PYTHONPATH": str(_ROOT / ".ns")})


def _node(name: str, settings: str, drain_jobs: int, is_open: str) -> System:
    node = node_of_rivals()
    words = (str(node.program), str(_HERE / f"with_{name}.js"))
    return System(name, settings, words, drain_jobs, is_open, {"PEERS_MODULES": str(node.modules)})


def _ours() -> System:
    concurrency = "1000"
    handlers = f"{_PACKAGE}.noop_handlers"
    options = ("--concurrency", concurrency, "--queue", "default")
    command = str(Path(sys.executable).parent / "reactorcide")
    return System(
        OURS,
        f"library submits; `worker --handlers`, concurrency {concurrency}",
        (sys.executable, "-m", f"{_PACKAGE}.with_reactorcide"),
        45_000,
        _OURS_OPEN,
        worker_words=(command, "worker", "--handlers", handlers, *options),
    )


_MAKERS: Final[Mapping[str, Callable[[], System]]] = {
    OURS: _ours,
    "pgqueuer": lambda: _python(
        "pgqueuer", "batch_size 1000, asyncpg", python_of_rivals(), 30_000, _PGQUEUER_OPEN
    ),
    "procrastinate": lambda: _python(
        "procrastinate", "concurrency 30, 20 connections", python_of_rivals(), 1_500,
        _PROCRASTINATE_OPEN,
    ),
    "graphile": lambda: _node(
        "graphile", "concurrentJobs 24, localQueue 500, completeJobBatchDelay 0", 100_000,
        _GRAPHILE_OPEN,
    ),
    "pgboss": lambda: _node(
        "pgboss", "batchSize 1000, notify, burstWhenBatchFull, localConcurrency 2", 80_000,
        _PGBOSS_OPEN,
    ),
    FLOOR: lambda: _python(
        FLOOR, "bare asyncpg, one row and one event a step, claims of 100",
        Path(sys.executable), 100_000, _FLOOR_OPEN,
    ),
}  # fmt: skip
NAMES: Final = tuple(_MAKERS)
