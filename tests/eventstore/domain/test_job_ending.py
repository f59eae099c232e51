"""A job loses its worker, is cancelled, killed, deleted."""

from datetime import timedelta

import pytest

from reactorcide.eventstore.domain.errors import NotFound, NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.events import (
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobDeleted,
    JobEvent,
    JobFailed,
    JobLeaseExpired,
    JobTimedOut,
    OnLostLease,
)
from reactorcide.eventstore.domain.job import (
    CANCELLED_ON_REQUEST,
    FINAL,
    HELD,
    JOB,
    LEASE_LOST,
    OVERDUE_SECONDS,
    CancelJob,
    Cancelled,
    Completed,
    DeleteJob,
    ExpireLease,
    Failed,
    FinishAttempt,
    JobCommand,
    Outcome,
    Released,
    Status,
    TimedOut,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import (
    CLAIMED,
    LOST,
    NOW,
    QUEUED,
    STARTED,
    SUBMITTED,
    WAITING,
    WAY_TO,
    WORKER_ID,
)

given = Story(JOB).given

RUNNING = WAY_TO[Status.RUNNING]
ASKED = JobCancelRequested(grace_seconds=10)
KILL = JobCancelRequested(grace_seconds=0)
GONE = JobCancelled(attempt=1, reason=CANCELLED_ON_REQUEST)


def lost(times: int, on_lost_lease: OnLostLease = "requeue") -> tuple[JobEvent, ...]:
    """Return a job that lost so many workers and runs once more."""
    submitted = SUBMITTED.model_copy(update={"on_lost_lease": on_lost_lease})
    history: list[JobEvent] = [submitted]
    for attempt in range(1, times + 1):
        history += [claim(attempt), JobLeaseExpired(attempt=attempt, worker_id=WORKER_ID)]
    return (*history, claim(times + 1))


def claim(attempt: int) -> JobClaimed:
    """Return a claim of the attempt."""
    return JobClaimed(attempt=attempt, worker_id=WORKER_ID, lease_seconds=15)


@pytest.mark.parametrize("status", sorted(HELD))
def test_a_job_that_lost_its_worker_is_queued_again(status: Status) -> None:
    """At once, and the attempt is no failure."""
    state = given(*WAY_TO[status]).when(ExpireLease(1, NOW)).then(LOST)
    assert (state.status, state.failures, state.lost_leases) == (Status.QUEUED, 0, 1)
    assert (state.worker_id, state.exit_code, state.last_error) == (None, None, LEASE_LOST)


def test_a_job_that_must_not_run_twice_fails_with_its_worker() -> None:
    """`on_lost_lease` says fail. Its command did not fail, so no failure is counted."""
    failed = JobFailed(attempt=1, error=LEASE_LOST)
    state = given(*lost(0, "fail")).when(ExpireLease(1, NOW)).then(LOST, failed)
    assert (state.status, state.failures, state.last_error) == (Status.FAILED, 0, LEASE_LOST)


@pytest.mark.parametrize("policy", ["requeue", "fail"])
def test_a_job_that_took_three_workers_down_fails(policy: OnLostLease) -> None:
    """Whatever else it says."""
    state = given(*lost(2, policy)).when(ExpireLease(3, NOW)).state
    assert (state.status, state.lost_leases, state.attempt) == (Status.FAILED, 3, 3)
    assert state.last_error == f"{LEASE_LOST}, 3 times"


def test_a_job_that_took_two_workers_down_gets_another() -> None:
    """Three is the limit, not two."""
    expired = JobLeaseExpired(attempt=2, worker_id=WORKER_ID)
    assert given(*lost(1)).when(ExpireLease(2, NOW)).then(expired).status == "queued"


def overdue(seconds: float = 0.001) -> ExpireLease:
    """Return the end of the lease of a command that ran so much longer than a worker lets it."""
    limit = SUBMITTED.timeout_seconds + OVERDUE_SECONDS
    return ExpireLease(1, NOW, NOW - timedelta(seconds=limit + seconds))


def test_a_lost_attempt_whose_time_is_long_over_timed_out() -> None:
    """The worker is not needed to say so."""
    error = f"ran longer than {SUBMITTED.timeout_seconds} s, and its worker is not heard of"
    state = given(*RUNNING).when(overdue()).then(JobTimedOut(attempt=1, error=error))
    assert (state.status, state.failures, state.exit_code) == (Status.TIMEOUT, 1, None)
    late = FinishAttempt(1, Completed(), NOW, 0)
    with pytest.raises(NotLeaseHolder):
        JOB.decide(state, late)


def test_a_lost_attempt_whose_time_is_long_over_is_tried_again() -> None:
    """When it has attempts left; it counts as a failed one."""
    submitted = SUBMITTED.model_copy(update={"max_attempts": 2})
    state = given(submitted, *RUNNING[1:]).when(overdue()).state
    assert (state.status, state.failures, state.lost_leases) == (Status.QUEUED, 1, 0)
    assert state.available_at is not None
    assert state.available_at > NOW


def test_a_lost_attempt_whose_time_is_barely_over_lost_its_worker() -> None:
    """A worker that gave the command its grace may have died in it."""
    given(*RUNNING).when(overdue(seconds=0)).then(LOST)


def test_a_job_to_be_cancelled_that_lost_its_worker_is_cancelled() -> None:
    """Nobody is left to stop it, and it must not start again."""
    state = given(*RUNNING, ASKED).when(ExpireLease(1, NOW)).then(LOST, GONE)
    assert state.status is Status.CANCELLED


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize("status", Status)
def test_only_the_present_lease_expires(status: Status, attempt: int) -> None:
    """Several may notice at once; all but the first find nothing to do."""
    given(*WAY_TO[status]).when(ExpireLease(attempt, NOW)).then()


@pytest.mark.parametrize("status", sorted(set(Status) - HELD))
def test_no_lease_expires_that_nobody_holds(status: Status) -> None:
    """The attempt ended in time after all."""
    attempt = given(*WAY_TO[status]).state.attempt
    given(*WAY_TO[status]).when(ExpireLease(attempt, NOW)).then()


@pytest.mark.parametrize(
    ("status", "attempt"), [(Status.SUBMITTED, None), (Status.QUEUED, None), (Status.CLAIMED, 1)]
)
def test_what_does_not_run_is_cancelled_at_once(status: Status, attempt: int | None) -> None:
    """Nothing has to be stopped; a claimed job's worker is refused when it starts it."""
    cancelled = JobCancelled(attempt=attempt, reason="no longer wanted")
    command = CancelJob(reason="no longer wanted")
    state = given(*WAY_TO[status]).when(command).then(cancelled)
    assert (state.status, state.last_error) == (Status.CANCELLED, "no longer wanted")
    assert state.exit_code is None


def test_a_running_job_is_asked_to_stop() -> None:
    """It runs until its worker says that it stopped."""
    state = given(*RUNNING).when(CancelJob()).then(ASKED)
    assert (state.status, state.cancel_grace_seconds) == (Status.RUNNING, 10)


def test_asking_again_adds_nothing() -> None:
    """Nor does asking more gently."""
    given(*RUNNING, ASKED).when(CancelJob()).then()
    given(*RUNNING, ASKED).when(CancelJob(grace_seconds=60)).then()
    given(*RUNNING, KILL).when(CancelJob()).then()


def test_a_kill_follows_a_cancel() -> None:
    """A shorter grace replaces a longer one."""
    assert given(*RUNNING, ASKED).when(CancelJob(0)).then(KILL).cancel_grace_seconds == 0


def test_killing_again_adds_nothing() -> None:
    """There is nothing shorter than no grace."""
    given(*RUNNING, KILL).when(CancelJob(0)).then()


@pytest.mark.parametrize("status", sorted(FINAL))
def test_an_ended_job_is_not_cancelled(status: Status) -> None:
    """The refusal says how it ended."""
    assert given(*WAY_TO[status]).when(CancelJob()).refused(NotLegal).current_status == status


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        (Cancelled(143), 143),
        (Failed(1, "exit code 1"), 1),
        (TimedOut(137, "ran longer than 1 s"), 137),
        (Released("worker stops"), None),
    ],
)
def test_a_cancelled_job_that_stops_is_cancelled(outcome: Outcome, exit_code: int | None) -> None:
    """However its attempt ended: no retry, no failure, no other worker."""
    cancelled = JobCancelled(attempt=1, exit_code=exit_code, reason=CANCELLED_ON_REQUEST)
    state = given(*RUNNING, ASKED).when(FinishAttempt(1, outcome, NOW, 0)).then(cancelled)
    assert (state.status, state.exit_code, state.failures) == (Status.CANCELLED, exit_code, 0)
    assert state.worker_id == WORKER_ID


def test_a_cancelled_job_that_was_faster_completed() -> None:
    """Its command ended with 0 before anybody stopped it; that is what happened."""
    command = FinishAttempt(1, Completed(), NOW, 0)
    given(*RUNNING, ASKED).when(command).then(JobCompleted(attempt=1))


@pytest.mark.parametrize("status", sorted(FINAL))
def test_an_ended_job_is_deleted(status: Status) -> None:
    """It keeps all that it was; only its place on the lists is gone."""
    before = given(*WAY_TO[status])
    assert before.when(DeleteJob()).then(JobDeleted()) == before.state._replace(
        status=Status.DELETED
    )


@pytest.mark.parametrize(
    "status", [Status.SUBMITTED, Status.QUEUED, Status.CLAIMED, Status.RUNNING]
)
def test_a_job_that_has_not_ended_is_not_deleted(status: Status) -> None:
    """It has to be cancelled first."""
    assert given(*WAY_TO[status]).when(DeleteJob()).refused(NotLegal).current_status == status


@pytest.mark.parametrize("command", [CancelJob(), DeleteJob()])
@pytest.mark.parametrize("status", [Status.NONE, Status.DELETED])
def test_a_job_that_is_not_there_cannot_end(status: Status, command: JobCommand) -> None:
    """Deleted is gone."""
    given(*WAY_TO[status]).when(command).refused(NotFound)


def test_the_history_of_the_examples_is_lawful() -> None:
    """They start from what really happens."""
    assert given(*lost(1)).state.lost_leases == 1
    waited = given(WAITING, QUEUED, CLAIMED, STARTED).state
    assert waited._replace(submitted=SUBMITTED) == given(*RUNNING).state
