"""How a job, and the events of one, are shown. Secret values are never: `***` stands for them."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_json
from starlette.responses import Response

from reactorcide.api.call import json_answer
from reactorcide.eventstore.codec import whole
from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.git_url import SEALED_NAME
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import artifacts
from reactorcide.projections.artifacts import ObjectKeys
from reactorcide.projections.jobs import Job

HIDDEN: Final = "***"
NO_KEYS: Final = ObjectKeys()


def etag_of(job: Job) -> str:
    """Return the entity tag of a job as it stands."""
    return f'"{job.version}"'


NEW_ETAG: Final = '"1"'
"""The entity tag of a job that nothing has happened to yet."""


def location_of(job_id: UUID) -> str:
    """Return where a job is found."""
    return f"/api/v1/jobs/{job_id}"


async def job_answer(connection: Reader, job: Job) -> Response:
    """Return a job as an answer, with its ETag."""
    keys = await keys_of(connection, [job])
    return json_answer(render(job, keys.get(job.job_id, NO_KEYS)), headers={"ETag": etag_of(job)})


async def keys_of(connection: Reader, shown: Sequence[Job]) -> dict[UUID, ObjectKeys]:
    """Return where logs and artifacts of jobs lie; nothing is asked of jobs that never ran."""
    job_ids = [job.job_id for job in shown if job.state.attempt]
    return await artifacts.object_keys(connection, job_ids) if job_ids else {}


def render(job: Job, keys: ObjectKeys = NO_KEYS) -> dict[str, Any]:
    """Return a job as the API shows it."""
    state, submitted = job.state, job.submitted
    return {
        # Ids and the status as texts: the writer of JSON takes long to find out what they are.
        "job_id": str(job.job_id),
        "user_id": str(submitted.user_id),
        "status": str(state.status),
        "version": job.version,
        **_request_of(submitted),
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "claimed_at": job.claimed_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "attempt": state.attempt,
        "worker_id": state.worker_id,
        "exit_code": state.exit_code,
        "last_error": state.last_error,
        "cancel_requested_at": job.cancel_requested_at,
        "retry_of": submitted.retry_of,
        "logs_object_key": keys.log,
        "artifacts_object_key": keys.artifacts,
    }


def template(job: Job, own: Collection[str]) -> list[str]:
    """Return a job as JSON, cut where the values of the fields `own` stand, in their order.

    One more piece than there are such fields: for jobs that differ in nothing else.
    """
    pieces, piece = [], "{"
    for name, value in render(job).items():
        piece += f'"{name}":' if piece == "{" else f',"{name}":'
        if name in own:
            pieces.append(piece)
            piece = ""
        else:
            piece += to_json(value).decode()
    return [*pieces, piece + "}"]


def _request_of(submitted: JobSubmitted) -> dict[str, Any]:
    sealed = [name for name in submitted.sealed_env_vars if name != SEALED_NAME]
    variables = submitted.job_env_vars
    if sealed:
        variables = {**variables, **dict.fromkeys(sealed, HIDDEN)}
    return {
        "name": submitted.name,
        "job_command": submitted.job_command,
        "handler": submitted.handler,
        "args": submitted.args,
        "description": submitted.description,
        "source_type": submitted.source_type,
        "git_url": submitted.git_url,
        "git_ref": submitted.git_ref,
        "source_path": submitted.source_path,
        "code_dir": submitted.code_dir,
        "job_dir": submitted.job_dir,
        "runner_image": submitted.runner_image,
        "job_env_vars": variables,
        "job_env_file": submitted.job_env_file,
        "secret_env_vars": sealed,
        "timeout_seconds": submitted.timeout_seconds,
        "priority": submitted.priority,
        "queue_name": submitted.queue_name,
        "max_attempts": submitted.max_attempts,
        "on_lost_lease": submitted.on_lost_lease,
        "retry_backoff_seconds": submitted.retry_backoff_seconds,
        "run_at": submitted.run_at,
        "unique_key": submitted.unique_key,
        "labels": submitted.labels,
        "depends_on": submitted.depends_on,
    }


def render_event(recorded: RecordedEvent) -> dict[str, Any]:
    """Return a recorded event as the API shows it."""
    data = whole(recorded)
    if "sealed_env_vars" in data:
        data["sealed_env_vars"] = dict.fromkeys(data["sealed_env_vars"], HIDDEN)
    return {
        "position": recorded.position,
        "event_id": recorded.event_id,
        "stream_id": recorded.stream_id,
        "stream_type": recorded.stream_type,
        "version": recorded.version,
        "type": recorded.type,
        "data": data,
        "actor": {
            "type": recorded.actor_type,
            "id": recorded.actor_id,
            "token_id": recorded.token_id,
        },
        "request_id": recorded.request_id,
        "correlation_id": recorded.correlation_id,
        "causation_id": recorded.causation_id,
        "ip": recorded.ip,
        "user_agent": recorded.user_agent,
        "recorded_at": recorded.recorded_at,
    }
