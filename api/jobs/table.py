"""The operations on jobs: a part of the one list of operations, see `api.table`."""

from http import HTTPStatus
from typing import Final

from reactorcide.api import views
from reactorcide.api.differences import DiffQuery
from reactorcide.api.events.stream import EVENT_STREAM
from reactorcide.api.jobs import artifacts, command, logs, show, submit
from reactorcide.api.jobs.kinds import read_batch, read_job
from reactorcide.api.jobs.requests import BatchRequest, JobListQuery, JobRequest
from reactorcide.api.moments import AtQuery
from reactorcide.api.operations import LAST_EVENT_ID, V1, Operation

_JOB: Final = f"{V1}/jobs/{{job_id}}"

_READ: Final = ("jobs:read",)
_WRITE: Final = ("jobs:write",)
_LOGS: Final = ("logs:read",)
_ARTIFACTS: Final = ("artifacts:read",)

_KEY: Final = {
    "Idempotency-Key": "1 to 255 printable ASCII characters: the same key and body within 24 "
    "hours get the first answer again."
}

JOBS: Final = (
    Operation(
        name="submitJob",
        method="POST",
        path=f"{V1}/jobs",
        summary="Submit a job",
        handler=submit.submit_job,
        tag="jobs",
        scopes=_WRITE,
        body=JobRequest,
        read_body=read_job,
        headers=_KEY,
        status=HTTPStatus.CREATED,
        also={HTTPStatus.OK: "A job with this unique_key that has not ended: `Deduplicated: true`"},
        answer=views.JobView,
        errors=("conflict",),
    ),
    Operation(
        name="listJobs",
        method="GET",
        path=f"{V1}/jobs",
        summary="List jobs, newest first",
        handler=show.list_jobs,
        tag="jobs",
        scopes=_READ,
        query=JobListQuery,
        answer=views.JobListView,
    ),
    Operation(
        name="submitJobs",
        method="POST",
        path=f"{V1}/jobs/batch",
        summary="Submit up to 1,000 jobs, all or nothing",
        handler=submit.submit_batch,
        tag="jobs",
        scopes=_WRITE,
        body=BatchRequest,
        read_body=read_batch,
        headers=_KEY,
        status=HTTPStatus.CREATED,
        answer=views.JobBatchView,
        errors=("conflict",),
    ),
    Operation(
        name="getJob",
        method="GET",
        path=_JOB,
        summary="Show a job, now or as it stood once",
        handler=show.get,
        tag="jobs",
        scopes=_READ,
        query=AtQuery,
        headers={"If-None-Match": "The ETag in hand: 304 when the job still stands there."},
        also={HTTPStatus.NOT_MODIFIED: "The job still stands where the caller saw it"},
        answer=views.JobView,
    ),
    Operation(
        name="deleteJob",
        method="DELETE",
        path=_JOB,
        summary="Take an ended job off every list, its log and artifacts away; its events stay",
        handler=command.delete,
        tag="jobs",
        scopes=_WRITE,
        status=HTTPStatus.NO_CONTENT,
        errors=("conflict",),
    ),
    Operation(
        name="getJobEvents",
        method="GET",
        path=f"{_JOB}/events",
        summary="Show what happened to a job, oldest first; followed to its end as an event stream",
        handler=show.events,
        tag="jobs",
        scopes=_READ,
        headers=LAST_EVENT_ID,
        answer=views.EventListView,
        media_types=("application/json", EVENT_STREAM),
    ),
    Operation(
        name="diffJob",
        method="GET",
        path=f"{_JOB}/diff",
        summary="Say what changed in a job from one version to another",
        handler=show.diff,
        tag="jobs",
        scopes=_READ,
        query=DiffQuery,
        answer=views.DiffView,
    ),
    Operation(
        name="getJobAttempts",
        method="GET",
        path=f"{_JOB}/attempts",
        summary="Show each attempt at a job: its worker, times, exit code and outcome",
        handler=show.attempts,
        tag="jobs",
        scopes=_READ,
        answer=views.AttemptListView,
    ),
    Operation(
        name="explainJob",
        method="GET",
        path=f"{_JOB}/explain",
        summary="Say why a job is not running",
        handler=show.explain,
        tag="jobs",
        scopes=_READ,
        answer=views.ExplainView,
    ),
    Operation(
        name="cancelJob",
        method="POST",
        path=f"{_JOB}/cancel",
        summary="Cancel a job: TERM, ten seconds later KILL",
        handler=command.cancel,
        tag="jobs",
        scopes=_WRITE,
        answer=views.JobView,
        errors=("conflict",),
    ),
    Operation(
        name="putJobCancel",
        method="PUT",
        path=f"{_JOB}/cancel",
        summary="Cancel a job: TERM, ten seconds later KILL",
        handler=command.cancel,
        tag="jobs",
        scopes=_WRITE,
        answer=views.JobView,
        errors=("conflict",),
    ),
    Operation(
        name="killJob",
        method="POST",
        path=f"{_JOB}/kill",
        summary="Cancel a job without grace (operator, admin)",
        handler=command.kill,
        tag="jobs",
        scopes=_WRITE,
        answer=views.JobView,
        errors=("conflict",),
    ),
    Operation(
        name="retryJob",
        method="POST",
        path=f"{_JOB}/retry",
        summary="Submit an ended job once more, as a new one",
        handler=submit.retry,
        tag="jobs",
        scopes=_WRITE,
        status=HTTPStatus.CREATED,
        also={HTTPStatus.OK: "A job with its unique_key that has not ended: `Deduplicated: true`"},
        answer=views.JobView,
        errors=("conflict",),
    ),
    Operation(
        name="getJobLogs",
        method="GET",
        path=f"{_JOB}/logs",
        summary="Show what a job printed; followed to its end as an event stream",
        handler=logs.logs,
        tag="jobs",
        scopes=_LOGS,
        query=logs.LogQuery,
        headers={"Range": "bytes=first-last of the text.", **LAST_EVENT_ID},
        also={HTTPStatus.PARTIAL_CONTENT: "The range that was asked for"},
        media_types=("text/plain", logs.NDJSON, EVENT_STREAM),
        errors=("range_not_satisfiable",),
    ),
    Operation(
        name="listArtifacts",
        method="GET",
        path=f"{_JOB}/artifacts",
        summary="List the files that a job left, by path",
        handler=artifacts.list_artifacts,
        tag="jobs",
        scopes=_ARTIFACTS,
        query=artifacts.ArtifactQuery,
        answer=views.ArtifactListView,
    ),
    Operation(
        name="getArtifact",
        method="GET",
        path=f"{_JOB}/artifacts/{{path}}",
        summary="Download a file that a job left",
        handler=artifacts.download,
        tag="jobs",
        scopes=_ARTIFACTS,
        query=artifacts.ArtifactQuery,
        headers={
            "Range": "bytes=first-last of the file.",
            "If-Range": "The ETag of the file that the range is meant for.",
            "If-None-Match": "The ETag in hand: 304, since a file never changes.",
        },
        also={
            HTTPStatus.PARTIAL_CONTENT: "The range that was asked for",
            HTTPStatus.NOT_MODIFIED: "The caller has it",
        },
        media_types=(artifacts.OCTETS,),
        errors=("range_not_satisfiable",),
    ),
)
