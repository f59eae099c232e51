"""One event of each kind, and a few names that the examples share."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from reactorcide.eventstore.domain.events import (
    AccessArtifactRead,
    AccessDenied,
    AccessExported,
    AccessLogRead,
    AccessRefused,
    AnyEvent,
    EventRedacted,
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobDeleted,
    JobEvent,
    JobFailed,
    JobLeaseExpired,
    JobQueued,
    JobReleased,
    JobRetryScheduled,
    JobStarted,
    JobSubmitted,
    JobTimedOut,
    ProjectionRebuilt,
    StreamsArchived,
    TokenIssued,
    TokenRevoked,
    TokenRotated,
    UserDeactivated,
    UserRegistered,
    UserRolesChanged,
    WorkerDrained,
    WorkerRegistered,
    WorkerStopped,
)
from reactorcide.eventstore.domain.job import Status

NOW: Final = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
OWNER: Final = UUID(int=1)
WORKER_ID: Final = UUID(int=2)
OTHER_WORKER_ID: Final = UUID(int=3)
DEPENDENCY: Final = UUID(int=4)
OTHER_DEPENDENCY: Final = UUID(int=5)

SUBMITTED: Final = JobSubmitted(user_id=OWNER, name="build", job_command="make")
WAITING: Final = SUBMITTED.waiting(waits=True)
QUEUED: Final = JobQueued()
CLAIMED: Final = JobClaimed(attempt=1, worker_id=WORKER_ID, lease_seconds=15)
STARTED: Final = JobStarted(attempt=1)
LOST: Final = JobLeaseExpired(attempt=1, worker_id=WORKER_ID)

ISSUED: Final = TokenIssued(
    user_id=OWNER, name="ci", token_hash="0" * 64, prefix="rct_abcd", expires_at=LATER
)
REGISTERED: Final = UserRegistered(username="ada", roles=("user",))
WORKER_REGISTERED: Final = WorkerRegistered(
    name="w1",
    hostname="host",
    pid=7,
    queues=("default",),
    concurrency=2,
    runner="process",
    code_version="1",
)

REBUILT: Final = ProjectionRebuilt(
    name="jobs",
    position=70,
    rows=12,
    digest="-1070375617764590178320",
    events=60,
    differed=False,
    code_version="0.1.0+0123456789ab",
)
DENIED: Final = AccessDenied(count=3, first_at=NOW, last_at=LATER, reason="bad_token")
REFUSED: Final = AccessRefused(count=1, first_at=NOW, last_at=NOW, reason="conflict")
EXPORTED: Final = AccessExported(
    count=1,
    first_at=NOW,
    last_at=LATER,
    operations=("exportAuditEvents",),
    format="csv",
    filters={"type": "job.submitted"},
    after=0,
    to=70,
    events=12,
    last_position=66,
    is_whole=True,
)
LOG_READ: Final = AccessLogRead(count=1, first_at=NOW, last_at=NOW, job_id=UUID(int=8))
ARTIFACT_READ: Final = AccessArtifactRead(count=1, first_at=NOW, last_at=NOW, job_id=UUID(int=8))

EVENTS: Final[tuple[AnyEvent, ...]] = (
    WAITING,
    QUEUED,
    CLAIMED,
    STARTED,
    JobReleased(attempt=1, reason="worker stops"),
    LOST,
    JobRetryScheduled(attempt=1, outcome="failed", exit_code=1, error="exit code 1", retry_at=NOW),
    JobCancelRequested(grace_seconds=10),
    JobCancelled(reason="cancelled on request"),
    JobCompleted(attempt=1),
    JobFailed(attempt=1, exit_code=1, error="exit code 1"),
    JobTimedOut(attempt=1, exit_code=143, error="ran longer than 1 s"),
    JobDeleted(),
    ISSUED,
    TokenRevoked(),
    TokenRotated(successor_id=UUID(int=9), valid_until=NOW),
    REGISTERED,
    UserRolesChanged(roles=("admin",)),
    UserDeactivated(),
    WORKER_REGISTERED,
    WorkerDrained(),
    WorkerStopped(reason="SIGTERM"),
    EventRedacted(position=7, reason="a customer asked for it", remaining_hash="0" * 64),
    StreamsArchived(
        object_key="archive/1.gz",
        sha256="0" * 64,
        streams=1,
        events=5,
        first_position=1,
        last_position=5,
    ),
    REBUILT,
    DENIED,
    REFUSED,
    LOG_READ,
    ARTIFACT_READ,
    EXPORTED,
)

_RUNNING_SO: Final = (SUBMITTED, CLAIMED, STARTED)

WAY_TO: Final[dict[Status, tuple[JobEvent, ...]]] = {
    Status.NONE: (),
    Status.SUBMITTED: (WAITING,),
    Status.QUEUED: (SUBMITTED,),
    Status.CLAIMED: (SUBMITTED, CLAIMED),
    Status.RUNNING: _RUNNING_SO,
    Status.COMPLETED: (*_RUNNING_SO, JobCompleted(attempt=1)),
    Status.FAILED: (*_RUNNING_SO, JobFailed(attempt=1, exit_code=1, error="exit code 1")),
    Status.CANCELLED: (SUBMITTED, JobCancelled(reason="cancelled on request")),
    Status.TIMEOUT: (*_RUNNING_SO, JobTimedOut(attempt=1, exit_code=143, error="too long")),
    Status.DELETED: (*_RUNNING_SO, JobCompleted(attempt=1), JobDeleted()),
}
"""A shortest lawful history into each status, with one attempt at most."""
