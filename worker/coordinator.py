"""All that a worker asks of the coordinator: one small interface.

A worker that holds no database password can be given another implementation. Nothing here
says how anything is stored.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from pydantic import JsonValue
from pydantic_core import from_json

from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import JobSubmitted, WorkerRegistered
from reactorcide.eventstore.domain.job import Outcome
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.worker.runner import Stream
from reactorcide.worker.secrets import Secrets


class CoordinatorUnavailable(Exception):  # noqa: N818  named by what is so, like the rejections
    """The coordinator cannot be reached, or did not answer in time; try again later.

    What was asked may or may not have been done.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SecretsUnreadable(Exception):  # noqa: N818  as above
    """The sealed value `name` cannot be opened by this worker."""

    def __init__(self, name: str, detail: str) -> None:
        self.detail = f"the secret value of {name} cannot be opened: {detail}"
        super().__init__(self.detail)
        self.name = name


class AttemptKey(NamedTuple):
    """Names one attempt of one job; every write of a worker carries it."""

    job_id: UUID
    attempt: int


class ClaimedAttempt(NamedTuple):
    """An attempt that this worker holds, and what it is about."""

    key: AttemptKey
    submitted: JobSubmitted
    """Jobs that were asked for alike share it, but for `args`."""
    own_args: str | None = None
    """The args as JSON, where `submitted` came without."""
    is_started: bool = False
    """Its start is recorded: there was nothing to prepare."""

    @property
    def args(self) -> JsonValue:
        """What the handler is called with."""
        own = self.own_args
        args: JsonValue = self.submitted.args if own is None else from_json(own)
        return args


@dataclass(frozen=True, slots=True)
class Claim:
    """What asking for work came to."""

    attempts: tuple[ClaimedAttempt, ...]
    has_more: bool
    """Others were faster, or nothing less was asked for: ask again while slots are free."""


class Report(NamedTuple):
    """How an attempt ended."""

    key: AttemptKey
    outcome: Outcome


class Chunk(NamedTuple):
    """A piece of what a command printed, secrets already masked."""

    seq: int
    stream: Stream
    printed_at: datetime
    data: bytes


class Artifact(NamedTuple):
    """A file that an attempt left, and where in the object store it lies."""

    path: str
    size: int
    sha256: bytes
    object_key: str


class Kept(NamedTuple):
    """How much a job has left already, in all its attempts."""

    files: int
    bytes: int


class ArtifactDoor(Protocol):
    """Records what attempts leave. Every method may raise CoordinatorUnavailable."""

    async def begin(self, key: AttemptKey) -> Kept:
        """Say that objects will be put for this attempt. Before the first one.

        Raises NotLeaseHolder, and ObjectStoreError when they would be put where nobody finds them.
        """
        ...

    async def add(self, key: AttemptKey, files: Sequence[Artifact]) -> None:
        """Say what was put, all of it at once. May be repeated. Raises NotLeaseHolder."""


class Beater(Protocol):
    """Keeps a worker's leases; used in a thread of its own."""

    async def beat(self, keys: Sequence[AttemptKey]) -> Mapping[AttemptKey, int | None]:
        """Renew the leases; return those still held, with the grace of a requested stop.

        None: nobody asked for a stop. A key that is not in the answer is lost. Raises
        CoordinatorUnavailable.
        """
        ...


class Coordinator(Protocol):
    """Hands out work and takes what became of it.

    Every method may raise CoordinatorUnavailable.
    """

    worker_id: UUID

    @property
    def objects(self) -> ObjectStore:
        """Where artifacts are put."""
        ...

    @property
    def artifacts(self) -> ArtifactDoor:
        """Where it is recorded that they were."""
        ...

    async def register(self, registered: WorkerRegistered) -> None:
        """Say that the worker is here. Before anything else."""

    async def claim(self, slots: int, *, is_woken: bool = False) -> Claim:
        """Take up to `slots` jobs; each opens an attempt and its lease.

        `is_woken`: somebody rang, and there was nothing before.
        """
        ...

    async def next_due_seconds(self) -> float | None:
        """Return when some waiting job's time comes; None: none is known of.

        To be asked after a `claim`. A time that came since the last question is told, once.
        """
        ...

    async def open_secrets(self, claimed: ClaimedAttempt) -> Secrets:
        """Return the plain values of `sealed_env_vars`. Raises SecretsUnreadable.

        As long as they are in use, they are masked once more in what `log` is given.
        """
        ...

    async def start(self, key: AttemptKey) -> None:
        """Say that the command is about to run. Raises CommandRejected: it must not."""

    async def start_all(self, keys: Sequence[AttemptKey]) -> None:
        """Say that these attempts run, where they are still held."""

    def open_beater(self) -> AbstractAsyncContextManager[Beater]:
        """Return what keeps the leases, for the thread and the event loop that enters it."""
        ...

    async def log(self, key: AttemptKey, chunks: Sequence[Chunk]) -> None:
        """Keep what was printed. May be repeated. Raises NotLeaseHolder."""

    async def finish(self, key: AttemptKey, outcome: Outcome) -> None:
        """Say how the attempt ended; ends its lease. Raises CommandRejected."""

    async def finish_all(self, reports: Sequence[Report]) -> Mapping[AttemptKey, CommandRejected]:
        """Say how attempts ended, all at once; return those whose end was refused."""
        ...

    async def finish_late(self, worker_id: UUID, report: Report) -> None:
        """Say how an attempt of `worker_id`, this worker or another, ended some time ago.

        Raises CommandRejected: that worker does not hold it any more.
        """

    async def wait_for_work(self, timeout_seconds: float) -> bool:
        """Return when there may be new work (True), at the latest after the timeout (False)."""
        ...

    async def wait_for_control(self, timeout_seconds: float) -> None:
        """Return when somebody may want a stop, at the latest after the timeout."""

    async def drain(self) -> None:
        """Say that the worker takes no new work."""

    async def stop(self, reason: str) -> None:
        """Say that the worker ends. After anything else."""
