"""What a submit may say, field by field, and how it becomes the first fact of a job.

Limits are the contract's. A secret value leaves this module only sealed.
"""

import posixpath
import re
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from reactorcide.api.fields import (
    Command,
    Id,
    Ids,
    Name,
    QueueName,
    RequestModel,
    ShortText,
    Time,
)
from reactorcide.api.pages import PageQuery
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.sealing import Sealer

_JOB_ROOT: Final = "/job"
_ENV_BYTES: Final = 256 * 1024
_LABEL_BYTES: Final = 16 * 1024
_SECRET_MIN_BYTES: Final = 4
_BATCH_JOBS: Final = 1000
_GIT_SCHEMES: Final = frozenset({"https", "ssh", "git", "file"})
_UNPRINTED: Final = re.compile(r"[\x00-\x20\x7f]")


def _refused(code: str, message: str) -> PydanticCustomError:
    # The two are constants of this module: nothing of the input gets into an answer.
    return PydanticCustomError(code, message)


def _under_job(path: str) -> str:
    inside = posixpath.normpath(path)
    if ".." in path.split("/") or not (inside == _JOB_ROOT or inside.startswith(_JOB_ROOT + "/")):
        raise _refused(code="job_path", message="Must be an absolute path under /job")
    return path


def _relative(path: str) -> str:
    if ".." in path.split("/"):
        raise _refused(code="job_path", message="Must be a path inside the job dir")
    return path


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise _refused(code="absolute_path", message="Must be an absolute path")
    return path


def _git_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise _refused(code="git_url", message="Must be a URL") from None
    if parts.scheme not in _GIT_SCHEMES or _UNPRINTED.search(url):
        raise _refused(code="git_url", message="Must be an https, ssh, git or file:// URL")
    if host.startswith("-") or not (host or parts.scheme == "file") or not parts.path:
        raise _refused(code="git_url", message="Must name a host and a path")
    return url


def _git_ref(ref: str) -> str:
    if ref.startswith("-") or _UNPRINTED.search(ref):
        raise _refused(code="git_ref", message="Must be a branch, tag or commit")
    return ref


def _environment(variables: dict[str, str]) -> dict[str, str]:
    if any(not name or "=" in name for name in variables):
        raise _refused(code="env_name", message="Names must not be empty or hold '='")
    if _bytes_of(variables) > _ENV_BYTES:
        raise _refused(code="too_many_bytes", message="Must be at most 262144 bytes in all")
    return variables


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if any(not name for name in labels):
        raise _refused(code="label_name", message="Names must not be empty")
    if _bytes_of(labels) > _LABEL_BYTES:
        raise _refused(code="too_many_bytes", message="Must be at most 16384 bytes in all")
    return labels


def _bytes_of(texts: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in texts.items())


JobPath: TypeAlias = Annotated[ShortText, AfterValidator(_under_job)]
Labels: TypeAlias = Annotated[dict[str, str], AfterValidator(_labels)]


class JobRequest(RequestModel):
    """A job as it is asked for."""

    name: Name
    job_command: Command
    description: Annotated[str, Field(max_length=4096)] | None = None
    source_type: Literal["none", "git", "copy"] = "none"
    git_url: Annotated[ShortText, AfterValidator(_git_url)] | None = Field(
        default=None, validate_default=True
    )
    git_ref: Annotated[Name, AfterValidator(_git_ref)] | None = None
    source_path: Annotated[ShortText, AfterValidator(_absolute)] | None = Field(
        default=None, validate_default=True
    )
    code_dir: JobPath = "/job/src"
    job_dir: JobPath | None = None
    runner_image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    job_env_vars: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        default_factory=dict
    )
    job_env_file: Annotated[ShortText, AfterValidator(_relative)] | None = None
    secret_env_vars: list[str] = Field(default_factory=list)
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 3600
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    queue_name: QueueName = "default"
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    on_lost_lease: Literal["requeue", "fail"] = "requeue"
    retry_backoff_seconds: Annotated[float, Field(ge=0, le=86_400)] = 5
    run_at: Time | None = None
    unique_key: Name | None = None
    labels: Labels = Field(default_factory=dict)
    depends_on: Ids = Field(default_factory=list)

    @field_validator("git_url")
    @classmethod
    def _git_has_a_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("source_type") == "git":
            raise _refused(code="missing", message="source_type git needs git_url")
        return url

    @field_validator("source_path")
    @classmethod
    def _copy_has_a_path(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is None and info.data.get("source_type") == "copy":
            raise _refused(code="missing", message="source_type copy needs source_path")
        return path

    @field_validator("secret_env_vars")
    @classmethod
    def _secrets_are_values(cls, names: list[str], info: ValidationInfo) -> list[str]:
        variables = info.data.get("job_env_vars", {})
        for name in names:
            if name not in variables:
                raise _refused(code="secret_unknown", message="Must be names in job_env_vars")
            if len(variables[name].encode()) < _SECRET_MIN_BYTES:
                raise _refused(
                    code="secret_too_short", message="Secret values must have at least 4 bytes"
                )
        return names

    def submitted(self, user_id: UUID, sealer: Sealer) -> JobSubmitted:
        """Return the first fact of the job, its secret values sealed."""
        fields: dict[str, Any] = {
            **self.__dict__,
            "user_id": user_id,
            "job_dir": self.job_dir or self.code_dir,
        }
        secret = frozenset(fields.pop("secret_env_vars"))
        if secret:
            values = self.job_env_vars
            fields["job_env_vars"] = {name: values[name] for name in values.keys() - secret}
            fields["sealed_env_vars"] = {
                name: sealer.seal(values[name], name) for name in sorted(secret)
            }
        return JobSubmitted.model_validate(fields)


class BatchRequest(RequestModel):
    """Up to 1,000 jobs, all or nothing."""

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=_BATCH_JOBS)]


Status: TypeAlias = Literal[
    "submitted", "queued", "claimed", "running", "completed", "failed", "cancelled", "timeout"
]


class JobListQuery(PageQuery):
    """The filters of the job list; labels come as `label.<name>=<value>`."""

    status: Status | None = None
    queue_name: QueueName | None = None
    source_type: Literal["none", "git", "copy"] | None = None
    user_id: Id | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    q: Name | None = None
    label: dict[str, str] = Field(default_factory=dict)
