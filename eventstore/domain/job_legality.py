"""What is legal for a job just now: asks TRANSITIONS, and says why not. Decides nothing else."""

from datetime import datetime
from uuid import UUID

from reactorcide.eventstore.domain.errors import NotFound, NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.job_events import JobEvent, JobSubmitted
from reactorcide.eventstore.domain.job_state import HELD, TRANSITIONS, JobState, Status


def known(state: JobState) -> JobSubmitted:
    """Return the request of a job that is there."""
    if state.submitted is None or state.status is Status.DELETED:
        raise NotFound(kind="job")
    return state.submitted


def allow(state: JobState, event: type[JobEvent], wish: str) -> JobSubmitted:
    """Return the request of a job that `event` may follow, else raise why it may not."""
    submitted = known(state)
    if event not in TRANSITIONS[state.status]:
        raise NotLegal(
            detail=f"a job that is {state.status} cannot {wish}", current_status=state.status
        )
    return submitted


def holds(state: JobState, attempt: int) -> bool:
    """Say whether this is the attempt that has the job."""
    return attempt == state.attempt and state.status in HELD


def hold(state: JobState, attempt: int, worker_id: UUID | None = None) -> None:
    """Let the attempt go on that has the job, of that worker if one is named; raise for another."""
    if not holds(state, attempt) or worker_id not in {None, state.worker_id}:
        raise NotLeaseHolder(attempt, state.attempt, state.status)


def is_early(available_at: datetime | None, now: datetime) -> bool:
    """Say whether something is not due yet."""
    return available_at is not None and available_at > now
