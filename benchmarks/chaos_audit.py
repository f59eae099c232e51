"""What must hold after any chaos, read off the log and off what the commands wrote themselves.

Pure: takes streams and lines, knows no server and no worker. It has rules of its own on purpose,
few and simple, so that a flaw in the house's does not hide itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.codec import decode
from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.events import (
    JobCancelled,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobLeaseExpired,
    JobReleased,
    JobRetryScheduled,
    JobStarted,
    JobTimedOut,
)
from reactorcide.eventstore.domain.job import FINAL, JOB
from reactorcide.eventstore.record import RecordedEvent

_AGAIN: Final = (JobLeaseExpired, JobReleased, JobRetryScheduled)
"""After these a job may be claimed once more."""
_BY_POLICY: Final = (JobFailed, JobTimedOut, JobCancelled)
"""These may follow a lost lease at once, in its attempt's name."""
_OF_ATTEMPTS: Final = (JobStarted, JobCompleted, *_AGAIN, *_BY_POLICY)


class Run(NamedTuple):
    """One process of an attempt's command, by its own account. Times in s of the boot clock."""

    job_id: UUID
    attempt: int
    pid: int
    worker_id: UUID
    began: float
    last: float
    """When it was last known to live."""
    is_whole: bool
    """It came to its end."""


@dataclass(slots=True)
class Audit:
    """What was found; every count but the last three should be 0."""

    lost: int = 0
    stuck: int = 0
    accepted_stale_writes: int = 0
    illegal_transitions: int = 0
    unexplained_extra_runs: int = 0
    overlaps: int = 0
    overlaps_of_orphans: int = 0
    """The worker of the earlier run had been killed or stopped: it could not end its command."""
    extra_runs: int = 0
    poisoned: int = 0
    """Jobs that failed for having lost three leases, as they should."""
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a word on what is wrong, for the first few."""
        if len(self.notes) < 20:  # noqa: PLR2004  enough to look into
            self.notes.append(text)


def read_runs(lines: Iterable[str]) -> list[Run]:
    """Return the runs that these lines tell of: `B|T|E job attempt pid time worker`."""
    runs: dict[tuple[str, str, str], Run] = {}
    for line in lines:
        words = line.split()
        if len(words) != 6 or not line.endswith("\n"):  # noqa: PLR2004  torn by the end of a disk
            continue
        kind, job_id, attempt, pid, at, worker_id = words
        key, time = (job_id, attempt, pid), float(at)
        known = runs.get(key) or Run(
            UUID(job_id), int(attempt), int(pid), UUID(worker_id), time, time, is_whole=False
        )
        is_whole = known.is_whole or kind == "E"
        runs[key] = known._replace(last=max(known.last, time), is_whole=is_whole)
    return list(runs.values())


class _Holder(NamedTuple):
    attempt: int
    worker_id: UUID


class _Stream:
    """One job's events, one after the other, beside who should hold it."""

    def __init__(self, audit: Audit, job_id: UUID) -> None:
        self._audit = audit
        self._job_id = job_id
        self._state = JOB.initial
        self._holder: _Holder | None = None
        self._lost: int | None = None
        self._may_claim = True
        self.attempts = 0
        self.started: set[int] = set()

    def take(self, recorded: RecordedEvent) -> bool:
        """Take the next event; False when nothing more can be said."""
        event = decode(recorded)
        try:
            self._state = JOB.evolve(self._state, event)  # type: ignore[arg-type]  # a job's stream
        except IllegalTransition as error:
            self._audit.illegal_transitions += 1
            self._audit.note(f"{self._job_id} version {recorded.version}: {error}")
            return False
        if isinstance(event, JobClaimed):
            self._claim(event)
        elif isinstance(event, _OF_ATTEMPTS) and event.attempt is not None:
            self._write(event)
        return True

    def _claim(self, event: JobClaimed) -> None:
        if self._holder is not None or event.attempt != self.attempts + 1:
            self._audit.illegal_transitions += 1
            self._audit.note(f"{self._job_id}: attempt {event.attempt} beside {self._holder}")
        if not self._may_claim:
            self._audit.unexplained_extra_runs += 1
            self._audit.note(f"{self._job_id}: attempt {event.attempt} for no reason")
        self.attempts = event.attempt
        self._holder = _Holder(event.attempt, event.worker_id)
        self._may_claim, self._lost = False, None

    def _write(self, event: object) -> None:
        """Look whether a write of an attempt came from the one that held the job."""
        assert isinstance(event, _OF_ATTEMPTS)  # noqa: S101  as the caller has seen
        attempt = event.attempt
        is_held = self._holder is not None and attempt == self._holder.attempt
        is_policy = isinstance(event, _BY_POLICY) and attempt == self._lost
        if not is_held and not is_policy:
            self._audit.accepted_stale_writes += 1
            self._audit.note(f"{self._job_id}: {event.wire_type} of stale attempt {attempt}")
        if isinstance(event, JobStarted):
            self.started.add(event.attempt)
            return
        self._holder = None
        self._may_claim = isinstance(event, _AGAIN)
        self._lost = event.attempt if isinstance(event, JobLeaseExpired) else None

    @property
    def final(self) -> str | None:
        """The final status, if it has one."""
        return self._state.status if self._state.status in FINAL else None

    @property
    def is_poisoned(self) -> bool:
        """Whether it lost three leases and failed for it."""
        return self.final == "failed" and "3 times" in (self._state.last_error or "")


def audit(
    streams: Mapping[UUID, Sequence[RecordedEvent]],
    acknowledged: Iterable[UUID],
    runs: Sequence[Run],
    felled: frozenset[UUID],
) -> Audit:
    """Compare the log with what clients were told and with what the commands say.

    `felled`: the workers that were killed or stopped at some time.
    """
    found = Audit()
    for job_id in set(acknowledged) - streams.keys():
        found.lost += 1
        found.note(f"{job_id}: acknowledged, and not in the log")
    of_job: dict[UUID, list[Run]] = {}
    for run in runs:
        of_job.setdefault(run.job_id, []).append(run)
    for job_id, recorded in streams.items():
        stream = _Stream(found, job_id)
        if all(map(stream.take, recorded)):
            _judge_end(found, stream, job_id, of_job.get(job_id, []))
        _judge_runs(found, stream, of_job.get(job_id, []), felled)
    return found


def _judge_end(found: Audit, stream: _Stream, job_id: UUID, runs: Sequence[Run]) -> None:
    found.stuck += stream.final is None
    found.poisoned += stream.is_poisoned
    if stream.final == "completed" and not any(
        run.is_whole and run.attempt == stream.attempts for run in runs
    ):
        found.lost += 1
        found.note(f"{job_id}: completed, and its command did not come to its end")


def _judge_runs(
    found: Audit, stream: _Stream, runs: Sequence[Run], felled: frozenset[UUID]
) -> None:
    found.extra_runs += max(len(runs) - 1, 0)
    seen: set[int] = set()
    for run in runs:
        if run.attempt in seen or run.attempt not in stream.started:
            found.unexplained_extra_runs += 1
            found.note(f"{run.job_id}: attempt {run.attempt} ran twice, or was never started")
        seen.add(run.attempt)
    for earlier, later in pairwise(sorted(runs, key=lambda run: (run.attempt, run.began))):
        if earlier.last > later.began:
            is_orphan = earlier.worker_id in felled
            found.overlaps_of_orphans += is_orphan
            found.overlaps += not is_orphan
            if not is_orphan:
                found.note(f"{later.job_id}: attempts {earlier.attempt} and {later.attempt}")
