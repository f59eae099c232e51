"""A job is claimed, started and finished, by the attempt that holds the lease and no other."""

from datetime import timedelta

import pytest
from pydantic import JsonValue

from reactorcide.eventstore.domain.errors import NotFound, NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.events import (
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobReleased,
    JobRetryScheduled,
    JobStarted,
    JobSubmitted,
    JobTimedOut,
)
from reactorcide.eventstore.domain.job import (
    FINAL,
    HELD,
    JOB,
    LONGEST_BACKOFF_SECONDS,
    Cancelled,
    ClaimJob,
    Completed,
    Failed,
    FinishAttempt,
    Outcome,
    Released,
    StartJob,
    Status,
    TimedOut,
    backoff_seconds,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import (
    CLAIMED,
    LATER,
    LOST,
    NOW,
    OTHER_WORKER_ID,
    OWNER,
    STARTED,
    SUBMITTED,
    WAY_TO,
    WORKER_ID,
)

given = Story(JOB).given

CLAIM = ClaimJob(WORKER_ID, 15, NOW)
RUNNING = WAY_TO[Status.RUNNING]
TWO_ATTEMPTS = SUBMITTED.model_copy(update={"max_attempts": 2})
BROKEN = Failed(1, "exit code 1")
TOO_LONG = TimedOut(143, "ran longer than 60 s")
RETRY = JobRetryScheduled(
    attempt=1,
    outcome="failed",
    exit_code=1,
    error="exit code 1",
    retry_at=NOW + timedelta(seconds=5),
)
OUTCOMES: tuple[Outcome, ...] = (
    Completed(),
    BROKEN,
    TOO_LONG,
    Cancelled(143),
    Released("worker stops"),
)


def finish(outcome: Outcome, attempt: int = 1, jitter: float = 0) -> FinishAttempt:
    """End an attempt now."""
    return FinishAttempt(attempt, outcome, NOW, jitter)


def test_a_claim_opens_the_first_attempt() -> None:
    """With its worker and the length of its lease."""
    state = given(SUBMITTED).when(CLAIM).then(CLAIMED)
    assert (state.status, state.attempt, state.worker_id) == (Status.CLAIMED, 1, WORKER_ID)


@pytest.mark.parametrize("status", sorted(HELD))
def test_a_claimed_job_is_not_claimed_again(status: Status) -> None:
    """Neither by the same worker nor by another."""
    for worker_id in (WORKER_ID, OTHER_WORKER_ID):
        refusal = given(*WAY_TO[status]).when(ClaimJob(worker_id, 15, NOW)).refused(NotLegal)
        assert refusal.current_status == status


@pytest.mark.parametrize("status", [Status.SUBMITTED, *sorted(FINAL)])
def test_only_a_queued_job_is_claimed(status: Status) -> None:
    """Not one that waits, not one that ended."""
    assert given(*WAY_TO[status]).when(CLAIM).refused(NotLegal).current_status == status


@pytest.mark.parametrize("status", [Status.NONE, Status.DELETED])
def test_a_job_that_is_not_there_is_not_claimed(status: Status) -> None:
    """Deleted is gone."""
    assert given(*WAY_TO[status]).when(CLAIM).refused(NotFound).kind == "job"


def test_a_retry_is_not_claimed_before_its_time() -> None:
    """The wait between attempts counts by the database's clock."""
    history = (TWO_ATTEMPTS, CLAIMED, STARTED, RETRY)
    given(*history).when(CLAIM).refused(NotLegal)
    second = JobClaimed(attempt=2, worker_id=WORKER_ID, lease_seconds=15)
    given(*history).when(ClaimJob(WORKER_ID, 15, RETRY.retry_at)).then(second)


def test_a_claimed_job_is_started() -> None:
    """The command is about to run."""
    assert given(SUBMITTED, CLAIMED).when(StartJob(1)).then(STARTED).status == "running"


def test_starting_again_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(*RUNNING).when(StartJob(1)).then()


def test_exit_code_0_completes() -> None:
    """Whose attempt it was stays to be seen."""
    state = given(*RUNNING).when(finish(Completed())).then(JobCompleted(attempt=1))
    assert (state.status, state.exit_code, state.last_error) == (Status.COMPLETED, 0, None)
    assert (state.worker_id, state.failures) == (WORKER_ID, 0)


def test_a_handlers_result_is_recorded() -> None:
    """Without an exit code: no command ran."""
    result: JsonValue = {"sent": [None]}
    completed = JobCompleted(attempt=1, exit_code=None, result=result)
    state = given(*RUNNING).when(finish(Completed(result, None))).then(completed)
    assert (state.status, state.exit_code) == (Status.COMPLETED, None)


def test_a_handlers_end_may_overtake_its_start() -> None:
    """It is over before its start was worth recording."""
    submitted = JobSubmitted(user_id=OWNER, name="job", handler="mail.send")
    completed = JobCompleted(attempt=1, exit_code=None, result=[1])
    claimed = given(submitted, CLAIMED)
    state = claimed.when(finish(Completed([1], None))).then(completed)
    assert (state.status, state.result) == (Status.COMPLETED, "[1]")


def test_a_command_that_never_started_cannot_complete() -> None:
    """A result without a start is a bug of the worker."""
    claimed = given(SUBMITTED, CLAIMED)
    assert claimed.when(finish(Completed())).refused(NotLegal).current_status == "claimed"


@pytest.mark.parametrize("status", sorted(HELD))
def test_the_last_failure_fails_the_job(status: Status) -> None:
    """Also when the command never ran."""
    failed = JobFailed(attempt=1, exit_code=None, error="no such directory")
    state = given(*WAY_TO[status]).when(finish(Failed(None, "no such directory"))).then(failed)
    assert (state.status, state.failures, state.exit_code) == (Status.FAILED, 1, None)
    assert state.last_error == "no such directory"


@pytest.mark.parametrize("status", sorted(HELD))
def test_the_last_timeout_ends_the_job(status: Status) -> None:
    """With the exit code of what was stopped."""
    timed_out = JobTimedOut(attempt=1, exit_code=143, error=TOO_LONG.error)
    state = given(*WAY_TO[status]).when(finish(TOO_LONG)).then(timed_out)
    assert (state.status, state.failures, state.exit_code) == (Status.TIMEOUT, 1, 143)


def test_a_failure_with_attempts_left_is_a_retry() -> None:
    """The job is queued again, not before the backoff has passed."""
    state = given(TWO_ATTEMPTS, CLAIMED, STARTED).when(finish(BROKEN)).then(RETRY)
    assert (state.status, state.failures, state.available_at) == ("queued", 1, RETRY.retry_at)
    assert (state.worker_id, state.exit_code, state.last_error) == (None, 1, "exit code 1")


def test_a_timeout_with_attempts_left_is_a_retry() -> None:
    """The fact says which of the two it was."""
    expected = RETRY.model_copy(
        update={"outcome": "timed_out", "exit_code": 143, "error": TOO_LONG.error}
    )
    given(TWO_ATTEMPTS, CLAIMED, STARTED).when(finish(TOO_LONG)).then(expected)


def test_a_retry_that_completes_forgets_the_error() -> None:
    """What is shown is about the attempt that ended last."""
    second = (
        JobClaimed(attempt=2, worker_id=WORKER_ID, lease_seconds=15),
        JobStarted(attempt=2),
    )
    history = (TWO_ATTEMPTS, CLAIMED, STARTED, RETRY, *second)
    state = given(*history).when(finish(Completed(), 2)).then(JobCompleted(attempt=2))
    assert (state.exit_code, state.last_error, state.failures) == (0, None, 1)


@pytest.mark.parametrize(
    ("first", "failures", "jitter", "seconds"),
    [(5, 0, 0, 5), (5, 1, 0, 10), (5, 3, 0, 40), (5, 1, 1, 11), (5, 1, -1, 9), (0, 5, 1, 0)],
)
def test_the_backoff_doubles(first: float, failures: int, jitter: float, seconds: float) -> None:
    """±10 % of it is left to chance."""
    assert backoff_seconds(first, failures, jitter) == pytest.approx(seconds)


def test_the_backoff_stays_a_date() -> None:
    """The 99th doubling of a day is no date any more."""
    assert backoff_seconds(86_400, 98, 0) == LONGEST_BACKOFF_SECONDS


@pytest.mark.parametrize("status", sorted(HELD))
def test_a_release_does_not_count(status: Status) -> None:
    """The job is queued again at once and may still fail as often as before."""
    released = JobReleased(attempt=1, reason="worker stops")
    state = given(*WAY_TO[status]).when(finish(Released("worker stops"))).then(released)
    assert (state.status, state.failures, state.lost_leases) == (Status.QUEUED, 0, 0)
    assert (state.worker_id, state.available_at, state.attempt) == (None, None, 1)


def test_nothing_is_cancelled_that_nobody_asked_to_cancel() -> None:
    """A worker cannot cancel by itself."""
    given(*RUNNING).when(finish(Cancelled(143))).refused(NotLegal)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize("status", sorted(HELD))
def test_another_attempt_than_the_holder_writes_nothing(
    status: Status, attempt: int, outcome: Outcome
) -> None:
    """Whatever it has to say; the refusal says who holds the lease."""
    for command in (StartJob(attempt), finish(outcome, attempt)):
        refusal = given(*WAY_TO[status]).when(command).refused(NotLeaseHolder)
        assert (refusal.attempt, refusal.current_attempt) == (attempt, 1)
        assert refusal.current_status == status


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("status", sorted(FINAL | {Status.DELETED, Status.QUEUED}))
def test_nothing_is_written_to_a_job_that_nobody_holds(status: Status, outcome: Outcome) -> None:
    """The attempt's number alone does not make a holder."""
    attempt = given(*WAY_TO[status]).state.attempt
    for command in (StartJob(attempt), finish(outcome, attempt)):
        given(*WAY_TO[status]).when(command).refused(NotLeaseHolder)


def test_a_late_result_of_a_lost_attempt_is_refused() -> None:
    """Another worker has gone on; the first one comes back from a pause."""
    second = JobClaimed(attempt=2, worker_id=OTHER_WORKER_ID, lease_seconds=15)
    history = (*RUNNING, LOST, second)
    refusal = given(*history).when(FinishAttempt(1, Completed(), LATER, 0)).refused(NotLeaseHolder)
    assert (refusal.attempt, refusal.current_attempt) == (1, 2)
