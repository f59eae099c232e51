"""What a worker is told at its start: one frozen object, built by the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reactorcide.worker.log_cap import LOG_BYTES


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """How much a job may leave; files and bytes are counted over all its attempts."""

    file_bytes: int = 1024**3
    files: int = 5000
    job_bytes: int = 10 * 1024**3


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Which work a worker takes, how much at a time, and how it stops."""

    name: str
    workspace_root: Path
    """Where the attempts' directories are made; created when missing."""
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 1
    """How many commands run at a time."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What it carries: a job is taken only when all of the job's labels are here."""
    runner: str = "process"
    copy_roots: tuple[Path, ...] = ()
    """Below these, local sources may be read."""
    lease_seconds: float = 15.0
    """How long a claim lives without a beat; beats come every third of it."""
    drain_seconds: float = 30.0
    """How long commands and handlers may still run once the worker should stop."""
    spool_dir: Path | None = None
    """Where outcomes are kept that could not be reported; None: they are not."""
    grace_seconds: float = 10.0
    """Between TERM and KILL, at a timeout and after draining."""
    poll_seconds: float = 3.0
    """About how long an idle worker waits without a ring before it looks anyway."""
    object_store_url: str = "memory://"
    """Where artifacts go, and logs that have ended."""
    log_bytes: int = LOG_BYTES
    """How much of each attempt's log is kept."""
    artifact_limits: ArtifactLimits = field(default_factory=ArtifactLimits)
    artifact_seconds: float = 1800.0
    """How long the artifacts of an attempt may take to be kept."""
    ageing_seconds: float = 60.0
    """What waits longer gets one place in ten, however much of higher priority comes in."""
    code_version: str = "unknown"
    handlers: tuple[str, ...] = ()
    """Modules, or Python files, for `handlers.load`: their functions run jobs with a handler."""
