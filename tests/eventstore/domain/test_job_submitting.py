"""A job is submitted, waits, is queued, and may be asked for again."""

from datetime import timedelta
from uuid import UUID

import pytest

from reactorcide.eventstore.codec import Encoded, decode
from reactorcide.eventstore.domain.errors import NotFound, NotLegal
from reactorcide.eventstore.domain.events import JobCancelled, JobSubmitted
from reactorcide.eventstore.domain.job import (
    FINAL,
    JOB,
    CancelDependent,
    QueueJob,
    Status,
    SubmitJob,
    retry_request,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import (
    DEPENDENCY,
    LATER,
    NOW,
    OTHER_DEPENDENCY,
    OWNER,
    QUEUED,
    SUBMITTED,
    WAITING,
    WAY_TO,
)

given = Story(JOB).given

TIMED = WAITING.model_copy(update={"run_at": LATER})
DEPENDENT = WAITING.model_copy(update={"depends_on": (DEPENDENCY, OTHER_DEPENDENCY)})
UNDER_WAY = (Status.CLAIMED, Status.RUNNING)


def test_a_job_that_nothing_holds_back_is_queued_at_once() -> None:
    """One fact says both."""
    state = given().when(SubmitJob(SUBMITTED, NOW, waits=False)).then(SUBMITTED)
    assert (state.status, state.submitted, state.attempt) == (Status.QUEUED, SUBMITTED, 0)


def test_a_job_whose_time_has_not_come_waits() -> None:
    """Its `run_at` lies ahead."""
    state = given().when(SubmitJob(TIMED, NOW, waits=False)).then(TIMED)
    assert (state.status, state.available_at) == (Status.SUBMITTED, LATER)


def test_a_job_whose_time_has_come_is_queued_at_once() -> None:
    """`run_at` itself is not too early."""
    given().when(SubmitJob(TIMED, LATER, waits=False)).then(TIMED.waiting(waits=False))


def test_a_job_that_depends_on_others_waits() -> None:
    """Whether they have completed is known to whoever submits."""
    given().when(SubmitJob(DEPENDENT, NOW, waits=True)).then(DEPENDENT)


def test_a_job_whose_dependencies_have_completed_is_queued_at_once() -> None:
    """There is nothing to wait for."""
    given().when(SubmitJob(DEPENDENT, NOW, waits=False)).then(DEPENDENT.waiting(waits=False))


def test_submitting_the_same_again_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(*WAY_TO[Status.RUNNING]).when(SubmitJob(SUBMITTED, LATER, waits=False)).then()


@pytest.mark.parametrize("request_", [TIMED, DEPENDENT])
def test_submitting_what_waited_again_adds_nothing(request_: JobSubmitted) -> None:
    """Whether or not it would still wait."""
    asked = request_.waiting(waits=False)
    for waits in (True, False):
        given(request_).when(SubmitJob(asked, LATER, waits=waits)).then()
        given(request_, QUEUED).when(SubmitJob(asked, LATER, waits=waits)).then()


def test_a_job_of_the_first_schema_waited_for_the_fact_behind_it() -> None:
    """There was a `job.queued` in every history then."""
    data = f'{{"user_id": "{OWNER}", "name": "build", "job_command": "make"}}'
    assert decode(Encoded(1, "job.submitted", 1, data)) == WAITING
    state = given(WAITING, QUEUED).state
    assert state._replace(submitted=SUBMITTED) == given(SUBMITTED).state


def test_an_id_is_not_given_to_a_second_job() -> None:
    """Another request under the same id is refused."""
    refusal = given(WAITING).when(SubmitJob(TIMED, NOW, waits=False)).refused(NotLegal)
    assert refusal.current_status == "submitted"


def test_a_job_is_queued_when_its_time_has_come() -> None:
    """The clock is the database's, handed in."""
    given(TIMED).when(QueueJob(LATER, frozenset())).then(QUEUED)


def test_a_job_is_not_queued_before_its_time() -> None:
    """Whoever asks too early asks again."""
    early = QueueJob(LATER - timedelta(microseconds=1), frozenset())
    assert given(TIMED).when(early).refused(NotLegal).current_status == "submitted"


def test_a_job_is_queued_when_all_it_waits_for_has_completed() -> None:
    """More than it waits for does no harm."""
    completed = frozenset({DEPENDENCY, OTHER_DEPENDENCY, UUID(int=77)})
    given(DEPENDENT).when(QueueJob(NOW, completed)).then(QUEUED)


def test_a_job_is_not_queued_while_one_dependency_is_missing() -> None:
    """All of them, not some."""
    given(DEPENDENT).when(QueueJob(NOW, frozenset({DEPENDENCY}))).refused(NotLegal)


def test_queueing_again_adds_nothing() -> None:
    """Several processes may notice at once."""
    given(WAITING, QUEUED).when(QueueJob(NOW, frozenset())).then()


@pytest.mark.parametrize("status", [*UNDER_WAY, *sorted(FINAL)])
def test_a_job_that_went_on_is_not_queued(status: Status) -> None:
    """Only what waits can be let go."""
    refusal = given(*WAY_TO[status]).when(QueueJob(NOW, frozenset())).refused(NotLegal)
    assert refusal.current_status == status


def test_a_dependency_that_did_not_complete_cancels_its_dependents() -> None:
    """The reason names it, and what became of it."""
    reason = f"dependency {DEPENDENCY} ended as failed"
    state = (
        given(DEPENDENT)
        .when(CancelDependent(DEPENDENCY, "failed"))
        .then(JobCancelled(reason=reason))
    )
    assert (state.status, state.last_error) == (Status.CANCELLED, reason)


def test_cancelling_a_cancelled_dependent_adds_nothing() -> None:
    """Its second dependency may end badly too."""
    cancelled = JobCancelled(reason="dependency ended as failed")
    given(DEPENDENT, cancelled).when(CancelDependent(OTHER_DEPENDENCY, "failed")).then()


def test_a_job_is_not_cancelled_for_one_it_does_not_wait_for() -> None:
    """That would be a bug of the caller."""
    given(DEPENDENT).when(CancelDependent(OWNER, "failed")).refused(NotLegal)


@pytest.mark.parametrize("status", [Status.QUEUED, *UNDER_WAY, *sorted(FINAL - {Status.CANCELLED})])
def test_a_job_that_waits_no_more_is_not_cancelled_for_a_dependency(status: Status) -> None:
    """What it waited for had completed."""
    refusal = given(*WAY_TO[status]).when(CancelDependent(DEPENDENCY, "failed")).refused(NotLegal)
    assert refusal.current_status == status


@pytest.mark.parametrize("status", sorted(FINAL))
def test_an_ended_job_can_be_asked_for_again(status: Status) -> None:
    """The same request, which says whose retry it is."""
    again = retry_request(given(*WAY_TO[status]).state, UUID(int=8))
    assert again == SUBMITTED.model_copy(update={"retry_of": UUID(int=8)})


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.QUEUED, *UNDER_WAY])
def test_a_job_that_has_not_ended_cannot_be_asked_for_again(status: Status) -> None:
    """It would run twice at once."""
    with pytest.raises(NotLegal) as caught:
        retry_request(given(*WAY_TO[status]).state, UUID(int=8))
    assert caught.value.current_status == status


@pytest.mark.parametrize("status", [Status.NONE, Status.DELETED])
def test_a_job_that_is_not_there_cannot_be_asked_for_again(status: Status) -> None:
    """Deleted is gone."""
    with pytest.raises(NotFound):
        retry_request(given(*WAY_TO[status]).state, UUID(int=8))


def test_a_retry_of_a_retry_names_the_latest() -> None:
    """The chain can be walked back."""
    second = SUBMITTED.model_copy(update={"retry_of": UUID(int=8)})
    ended = given(second, JobCancelled(reason="x")).state
    assert retry_request(ended, UUID(int=9)).retry_of == UUID(int=9)
