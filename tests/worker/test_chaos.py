"""A small chaos leaves nothing behind; and what judges it sees what it should."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from reactorcide.benchmarks.chaos_audit import Audit, Run, audit, read_runs
from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.domain.events import (
    Event,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobLeaseExpired,
    JobReleased,
    JobStarted,
    JobSubmitted,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.tests.eventstore.recorded import a_recorded
from reactorcide.tests.support.server import roomy_root

JOB, ONE, OTHER = new_id(), new_id(), new_id()
NEW: Final = (JobSubmitted(user_id=new_id(), name="a job", job_command="true"),)
DONE: Final = (JobStarted(attempt=1), JobCompleted(attempt=1))
BAD: Final = ("lost", "accepted_stale_writes", "illegal_transitions", "unexplained_extra_runs")


def claimed(attempt: int, worker_id: UUID = ONE) -> JobClaimed:
    """Return a claim."""
    return JobClaimed(attempt=attempt, worker_id=worker_id, lease_seconds=1)


def expired(attempt: int) -> JobLeaseExpired:
    """Return the loss of a lease."""
    return JobLeaseExpired(attempt=attempt, worker_id=ONE)


def run_of(attempt: int, began: int, last: int, *, pid: int = 7) -> Run:
    """Return a whole run."""
    return Run(JOB, attempt, pid, ONE, began, last, is_whole=True)


def judged(events: Sequence[Event], *runs: Run, felled: frozenset[UUID] = frozenset()) -> Audit:
    """Judge one job."""
    encoded = [encode(new_id(), one) for one in events]
    recorded = [
        a_recorded(one.type, one.schema_version, one.data)._replace(version=nth, stream_id=JOB)
        for nth, one in enumerate(encoded, 1)
    ]
    return audit({JOB: recorded}, [JOB], runs, felled)


def bad(found: Audit) -> dict[str, int]:
    """Return what is not 0."""
    return {name: getattr(found, name) for name in BAD if getattr(found, name)}


def test_a_good_life_is_good() -> None:
    """Also one with a lost lease, a release, and a failure by policy."""
    assert judged([*NEW, claimed(1), *DONE], run_of(1, 0, 1)) == Audit()
    again = [JobStarted(attempt=2), JobReleased(attempt=2, reason="drain")]
    third = [claimed(3), JobStarted(attempt=3), JobCompleted(attempt=3)]
    life = [*NEW, claimed(1), JobStarted(attempt=1), expired(1), claimed(2), *again, *third]
    runs = run_of(1, 0, 1), run_of(2, 2, 3), run_of(3, 4, 5)
    assert judged(life, *runs) == Audit(extra_runs=2)
    failed = [*NEW, claimed(1), expired(1), JobFailed(attempt=1, error="lease lost")]
    assert judged(failed) == Audit()


def test_what_is_wrong_is_seen() -> None:
    """One planted flaw after the other."""
    assert bad(judged([*NEW, claimed(1), *DONE])) == {"lost": 1}
    stale = [*NEW, claimed(1), expired(1), claimed(2), JobCompleted(attempt=1)]
    assert bad(judged(stale, run_of(1, 0, 1)))["accepted_stale_writes"] == 1
    assert bad(judged([*NEW, *DONE])) == {"illegal_transitions": 1}
    twice = run_of(1, 0, 1), run_of(1, 2, 3, pid=8)
    assert bad(judged([*NEW, claimed(1), *DONE], *twice)) == {"unexplained_extra_runs": 1}
    unknown = run_of(1, 0, 1), run_of(2, 2, 3)
    assert bad(judged([*NEW, claimed(1), *DONE], *unknown)) == {"unexplained_extra_runs": 1}
    assert judged([*NEW, claimed(1)]).stuck == 1
    assert audit({}, [JOB], [], frozenset()).lost == 1


@pytest.mark.parametrize("is_felled", [False, True])
def test_runs_at_the_same_time_are_seen(*, is_felled: bool) -> None:
    """Those of a worker that could not end its command are counted apart."""
    life = [*NEW, claimed(1), JobStarted(attempt=1), expired(1), claimed(2)]
    ended = [*life, JobStarted(attempt=2), JobCompleted(attempt=2)]
    found = judged(
        ended, run_of(1, 0, 5), run_of(2, 4, 6), felled=frozenset({ONE} if is_felled else ())
    )
    assert (found.overlaps, found.overlaps_of_orphans) == (not is_felled, is_felled)


def test_lines_become_runs() -> None:
    """A torn last line is left out; what did not come to its end is not whole."""
    lines = [f"{kind} {JOB} 1 9 {at} {ONE}\n" for kind, at in (("B", 5.01), ("T", 7), ("E", 8.5))]
    lines += [f"B {JOB} 2 11 9 {OTHER}\n", f"E {JOB} 2 1"]
    assert read_runs(lines) == [
        Run(JOB, 1, 9, ONE, 5.01, 8.5, is_whole=True),
        Run(JOB, 2, 11, OTHER, 9, 9, is_whole=False),
    ]


def test_a_small_chaos_leaves_nothing_behind() -> None:
    """Workers killed and stopped, the server killed and started: nothing lost, stuck or stale."""
    words = "--jobs 60 --workers 3 --slots 3 --seconds 7 --lease 2 --seed 4"
    paces = "--kill-every 1.3 --restart-every 2.1 --stop-every 1.7"
    done = subprocess.run(
        [sys.executable, "-m", "reactorcide.benchmarks.chaos", *words.split(), *paces.split()],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ".ns", "TMPDIR": str(roomy_root())},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["jobs"] == 60
    assert min(figures["kills"], figures["restarts"], figures["stops"]) >= 1
