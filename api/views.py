"""The shape of every answer, for the OpenAPI document: handlers write the same by hand, faster.

Nothing at run time validates against these; a test compares what is answered with them. What
users and tokens look like is in `account_views`, what the audit trail does in `audit_views`.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from reactorcide.api.jobs.requests import Status
from reactorcide.eventstore.domain.events import OnLostLease, SourceType
from reactorcide.projections.attempts import Ending


class View(BaseModel):
    """The base of answers."""

    model_config = ConfigDict(extra="forbid")


class ListView(View):
    """What every list carries beside its rows."""

    total: int | None
    limit: int
    offset: int
    next_cursor: str | None


class HealthView(View):
    """How the process and what it needs are doing."""

    status: Literal["ok", "degraded"]
    version: str
    checks: dict[str, str]


class StateView(View):
    """A word on how the process is doing."""

    status: str


class PlaceView(View):
    """A version of a stream."""

    version: int
    position: int
    recorded_at: datetime


class ChangeView(View):
    """A value that differs between two versions."""

    path: str
    """A JSON Pointer."""
    before: JsonValue = Field(alias="from")
    after: JsonValue = Field(alias="to")


class DiffView(View):
    """What changed from one version to another."""

    before: PlaceView = Field(alias="from")
    after: PlaceView = Field(alias="to")
    changes: list[ChangeView]


class ReadyView(StateView):
    """That requests may be sent here, and how what it needs is doing."""

    checks: dict[str, str]


class JobView(View):
    """A job as it stands."""

    job_id: UUID
    user_id: UUID
    status: Status
    version: int
    name: str
    job_command: str | None
    handler: str | None
    args: JsonValue
    description: str | None
    source_type: SourceType
    git_url: str | None
    git_ref: str | None
    source_path: str | None
    code_dir: str
    job_dir: str
    runner_image: str | None
    job_env_vars: dict[str, str]
    job_env_file: str | None
    secret_env_vars: list[str]
    timeout_seconds: int
    priority: int
    queue_name: str
    max_attempts: int
    on_lost_lease: OnLostLease
    retry_backoff_seconds: float
    run_at: datetime | None
    unique_key: str | None
    labels: dict[str, str]
    depends_on: list[UUID]
    created_at: datetime
    updated_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    worker_id: UUID | None
    exit_code: int | None
    last_error: str | None
    cancel_requested_at: datetime | None
    retry_of: UUID | None
    logs_object_key: str | None
    artifacts_object_key: str | None


class JobListView(ListView):
    """A page of jobs."""

    jobs: list[JobView]


class JobBatchView(View):
    """The jobs of a batch, in its order."""

    jobs: list[JobView]


class QueueView(View):
    """How many jobs of a queue stand in each status that is not final."""

    queue_name: str
    submitted: int
    queued: int
    claimed: int
    running: int


class QueueListView(ListView):
    """A page of queues, by name."""

    queues: list[QueueView]


class ActorView(View):
    """Who caused an event."""

    type: Literal["user", "worker", "system", "anonymous"]
    id: UUID | None
    token_id: UUID | None


class EventView(View):
    """A recorded event."""

    position: int
    event_id: UUID
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    data: dict[str, Any]
    actor: ActorView
    request_id: str | None
    correlation_id: UUID | None
    causation_id: UUID | None
    ip: str | None
    user_agent: str | None
    recorded_at: datetime


class FullEventView(EventView):
    """A recorded event, with the hash of its data."""

    payload_hash: str | None = Field(
        description="SHA-256 of a salt and the data, as sealed, in hex; null until the event is"
    )


class EventListView(View):
    """The events of a job, oldest first."""

    events: list[EventView]


class ArtifactView(View):
    """A file that a job left: its path, and the SHA-256 of its content in hex."""

    path: str
    size: int
    sha256: str


class ArtifactListView(View):
    """The files that one attempt of a job left, by path."""

    artifacts: list[ArtifactView]


class AttemptView(View):
    """One claim of a job, and what came of it; its log is `/logs?attempt=`."""

    attempt: int
    worker_id: UUID
    claimed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: Ending | None
    exit_code: int | None
    error: str | None
    retry_at: datetime | None


class AttemptListView(View):
    """The attempts of a job, the first one first."""

    attempts: list[AttemptView]


class ReasonView(View):
    """One thing that holds a job back."""

    code: str
    message: str


class ExplainView(View):
    """Why a job is not running."""

    status: Status
    reasons: list[ReasonView]


class FlawView(View):
    """One thing wrong with the input."""

    pointer: str
    code: str
    message: str


class ProblemView(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: str
    message: str
    request_id: str
    current_status: str | None = None
    errors: list[FlawView] | None = None
