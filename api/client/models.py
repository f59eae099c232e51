"""What the client gives and takes, typed. Sends nothing.

A newer server does no harm: its new fields are ignored, and a status or a kind is a text.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Required, TypeAlias, TypedDict
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue

FINAL: Final = frozenset({"completed", "failed", "cancelled", "timeout"})

Status: TypeAlias = Literal[
    "submitted", "queued", "claimed", "running", "completed", "failed", "cancelled", "timeout"
]
SourceType: TypeAlias = Literal["none", "git", "copy"]
LogStream: TypeAlias = Literal["stdout", "stderr"]
Attempt: TypeAlias = int | Literal["all"]
JobId: TypeAlias = UUID | str


class JobRequest(TypedDict, total=False):
    """A job as it is asked for; what is left out or None is for the API to choose.

    It runs either `job_command`, by `sh -c`, or a `handler` with `args`.
    """

    name: Required[str]
    job_command: str | None
    handler: str | None
    args: JsonValue
    description: str | None
    source_type: SourceType | None
    git_url: str | None
    git_ref: str | None
    source_path: str | None
    code_dir: str | None
    job_dir: str | None
    runner_image: str | None
    job_env_vars: Mapping[str, str] | None
    job_env_file: str | None
    secret_env_vars: Sequence[str] | None
    timeout_seconds: int | None
    priority: int | None
    queue_name: str | None
    max_attempts: int | None
    on_lost_lease: Literal["requeue", "fail"] | None
    retry_backoff_seconds: float | None
    run_at: datetime | None
    unique_key: str | None
    labels: Mapping[str, str] | None
    depends_on: Sequence[JobId] | None


class JobFilter(TypedDict, total=False):
    """Which jobs to list; all that is given must hold."""

    status: Status | None
    queue_name: str | None
    source_type: SourceType | None
    user_id: JobId | None
    labels: Mapping[str, str] | None
    created_after: datetime | None
    created_before: datetime | None
    q: str | None


class Model(BaseModel):
    """The base of what the API answers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Job(Model):
    """A job as it stood when the API answered."""

    job_id: UUID
    user_id: UUID
    status: str
    version: int
    name: str
    job_command: str | None = None
    handler: str | None = None
    args: JsonValue = None
    result: JsonValue = None
    """What its handler returned."""
    description: str | None = None
    source_type: str
    git_url: str | None = None
    git_ref: str | None = None
    source_path: str | None = None
    code_dir: str
    job_dir: str
    runner_image: str | None = None
    job_env_vars: Mapping[str, str]
    job_env_file: str | None = None
    secret_env_vars: tuple[str, ...]
    timeout_seconds: int
    priority: int
    queue_name: str
    max_attempts: int
    on_lost_lease: str
    retry_backoff_seconds: float
    run_at: datetime | None = None
    unique_key: str | None = None
    labels: Mapping[str, str]
    depends_on: tuple[UUID, ...]
    created_at: datetime
    updated_at: datetime
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    attempt: int
    worker_id: UUID | None = None
    exit_code: int | None = None
    last_error: str | None = None
    cancel_requested_at: datetime | None = None
    retry_of: UUID | None = None
    logs_object_key: str | None = None
    artifacts_object_key: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.status in FINAL


class Actor(Model):
    """Who caused an event."""

    type: str
    id: UUID | None = None
    token_id: UUID | None = None


class Event(Model):
    """A recorded event."""

    position: int
    event_id: UUID
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    data: Mapping[str, JsonValue]
    actor: Actor
    request_id: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    ip: str | None = None
    user_agent: str | None = None
    recorded_at: datetime


class Artifact(Model):
    """A file that a job left; `sha256` in hex."""

    path: str
    size: int
    sha256: str


class Artifacts(Model):
    """The files that one attempt left, by path."""

    artifacts: tuple[Artifact, ...]


class User(Model):
    """A user."""

    user_id: UUID
    username: str
    email: str | None = None
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
    updated_at: datetime


class TokenInHand(Model):
    """The token that the client sends; `scopes` are what it opens."""

    token_id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None


class Me(Model):
    """Who the caller is."""

    user: User
    token: TokenInHand


class Jobs(Model):
    """Jobs, and where the next page begins, if there is one."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None


class Events(Model):
    """The events of a job, oldest first."""

    events: tuple[Event, ...]


class Heartbeat(Model):
    """A sign of life of a stream of events: all up to this position has come."""

    position: int


class Frame(Model):
    """A piece of a log as it travels."""

    seq: int
    at: datetime
    attempt: int
    stream: str
    data: str
    data_base64: str | None = None
    """The bytes, when they are no UTF-8."""

    def exact(self) -> "LogFrame":
        """Return it with the bytes that were printed."""
        told = self.data_base64
        data = self.data.encode() if told is None else base64.b64decode(told)
        return LogFrame(
            seq=self.seq, at=self.at, attempt=self.attempt, stream=self.stream, data=data
        )


class LogFrame(Model):
    """A piece of a log: exactly the bytes that the job printed, in its order."""

    attempt: int
    seq: int
    at: datetime
    stream: str
    data: bytes
