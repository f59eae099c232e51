"""What a submit may say, field by field, and how it becomes the first fact of a job.

Limits are the contract's. A secret value leaves this module only sealed.
"""

import posixpath
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError, to_json

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
from reactorcide.api.moments import Moment
from reactorcide.api.pages import PageQuery
from reactorcide.eventstore.domain.events import NOTHING, JobSubmitted, Json
from reactorcide.eventstore.domain.git_url import SEALED_NAME, without_credentials

_JOB_ROOT: Final = "/job"
_ENV_BYTES: Final = 256 * 1024
_LABEL_BYTES: Final = 16 * 1024
ARGS_BYTES: Final = 256 * 1024
_SECRET_MIN_BYTES: Final = 4
BATCH_JOBS: Final = 1000
_GIT_SCHEMES: Final = frozenset({"https", "ssh", "git", "file"})
_HANDLER: Final = r"^[a-zA-Z0-9][a-zA-Z0-9._:-]{0,254}$"
_COMMANDS_ALONE: Final = frozenset(
    {
        "source_type",
        "git_url",
        "git_ref",
        "source_path",
        "code_dir",
        "job_dir",
        "runner_image",
        "job_env_vars",
        "job_env_file",
        "secret_env_vars",
    }
)
"""What says nothing to a handler: it has no source, no directory and no environment of its own."""
_UNPRINTED: Final = re.compile(r"[\x00-\x20\x7f]")


def _refused(code: str, message: str) -> PydanticCustomError:
    # The two are constants of this module: nothing of the input gets into an answer.
    return PydanticCustomError(code, message)


def _flaw(field: str, code: str, message: str) -> InitErrorDetails:
    return InitErrorDetails(type=_refused(code, message), loc=(field,), input=None)


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


def _args(args: JsonValue) -> JsonValue:
    size = len(to_json(args))
    if size > ARGS_BYTES:
        raise PydanticCustomError(
            "too_many_bytes",
            "Must be at most {limit} bytes as JSON, these are {size}",
            {"limit": ARGS_BYTES, "size": size},
        )
    return args


def _bytes_of(texts: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in texts.items())


Seal: TypeAlias = Callable[[str, str], str]
"""Returns a value sealed, given it and its name."""
JobPath: TypeAlias = Annotated[ShortText, AfterValidator(_under_job)]
Labels: TypeAlias = Annotated[dict[str, str], AfterValidator(_labels)]
Handler: TypeAlias = Annotated[str, Field(pattern=_HANDLER)]
Args: TypeAlias = Annotated[Json, AfterValidator(_args)]

_EITHER: Final[JsonDict] = {
    "oneOf": [
        {"required": [field], "properties": {field: {"type": "string"}}}
        for field in ("job_command", "handler")
    ]
}


class JobRequest(RequestModel):
    """A job as it is asked for: a shell command, or a handler's name and its arguments."""

    model_config = ConfigDict(json_schema_extra=_EITHER)

    name: Name
    job_command: Command | None = None
    handler: Handler | None = None
    args: Args = None
    description: Annotated[str, Field(max_length=4096)] | None = None
    source_type: Literal["none", "git", "copy"] = "none"
    git_url: Annotated[ShortText, AfterValidator(_git_url)] | None = None
    git_ref: Annotated[Name, AfterValidator(_git_ref)] | None = None
    source_path: Annotated[ShortText, AfterValidator(_absolute)] | None = None
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        # One look for all: every validator of Python's costs as much as ten of pydantic's.
        if self.handler is not None:
            if self.job_command is not None or self.model_fields_set & _COMMANDS_ALONE:
                self._refuse(self._beside_a_handler())
        elif self.job_command is None:
            self._refuse([_flaw("job_command", "job_kind", "Give job_command or handler")])
        elif self.args is not None:
            self._refuse([_flaw("args", "job_kind", "Only a handler takes args")])
        elif self.source_type != "none" or self.secret_env_vars:
            self._refuse([*self._without_a_source(), *self._about_secrets()])
        return self

    def _beside_a_handler(self) -> list[InitErrorDetails]:
        """Return what is wrong with each field that a handler's job can't have."""
        if self.job_command is not None:
            message = "Give either job_command or handler, not both"
            return [_flaw("job_command", "job_kind", message)]
        fields = type(self).model_fields
        return [
            _flaw(name, "job_kind", "Means nothing to a handler; leave it out")
            for name in fields
            if name in _COMMANDS_ALONE & self.model_fields_set
            and getattr(self, name) != fields[name].get_default(call_default_factory=True)
        ]

    def _without_a_source(self) -> list[InitErrorDetails]:
        if self.source_type == "git" and self.git_url is None:
            return [_flaw("git_url", "missing", "source_type git needs git_url")]
        if self.source_type == "copy" and self.source_path is None:
            return [_flaw("source_path", "missing", "source_type copy needs source_path")]
        return []

    def _about_secrets(self) -> list[InitErrorDetails]:
        values = self.job_env_vars
        field = "secret_env_vars"
        if not values.keys() >= set(self.secret_env_vars):
            return [_flaw(field, "secret_unknown", "Must be names in job_env_vars")]
        if any(len(values[name].encode()) < _SECRET_MIN_BYTES for name in self.secret_env_vars):
            message = "Secret values must have at least 4 bytes"
            return [_flaw(field, "secret_too_short", message)]
        return []

    def _refuse(self, flaws: list[InitErrorDetails]) -> None:
        """Raise ValidationError unless there is none; each points at its field."""
        if flaws:
            raise ValidationError.from_exception_data(type(self).__name__, flaws)

    def submitted(self, user_id: UUID, seal: Seal) -> JobSubmitted:
        """Return the first fact of the job, its secret values sealed.

        Nothing is looked at twice: what holds for a request holds for the fact.
        """
        fields: dict[str, Any] = {"user_id": user_id, **self.__dict__, **_FACTS_ALONE}
        if secret := frozenset(fields.pop("secret_env_vars")):
            values = self.job_env_vars
            fields["job_env_vars"] = {name: values[name] for name in values.keys() - secret}
            fields["sealed_env_vars"] = {name: seal(values[name], name) for name in sorted(secret)}
        if self.git_url is not None:
            fields["git_url"], credentials = without_credentials(self.git_url)
            if credentials:
                sealed = seal(credentials, SEALED_NAME)
                fields["sealed_env_vars"] = {**fields["sealed_env_vars"], SEALED_NAME: sealed}
        fields["job_dir"] = self.job_dir or self.code_dir
        fields["depends_on"] = tuple(self.depends_on)
        return JobSubmitted.of(fields)


_FACTS_ALONE: Final = {"sealed_env_vars": NOTHING, "retry_of": None, "waits": False}
"""What a request does not say."""


class BatchRequest(RequestModel):
    """Up to 1,000 jobs, all or nothing."""

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=BATCH_JOBS)]


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
    at: Moment | None = None
