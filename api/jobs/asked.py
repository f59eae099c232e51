"""A job as a Python program asks for it: fields by name, held to what a body of the API is.

What is given goes through JSON once, so that exactly what POST /jobs takes is taken here, and an
event holds what its reader will see. Opens nothing and writes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeVar
from uuid import UUID

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from reactorcide.api.errors import Flaw, Problem, problem_of_validation
from reactorcide.api.jobs.requests import JobRequest
from reactorcide.api.json_body import parse_object

T = TypeVar("T")

_NAME_LETTERS: Final = 255


class JobFields(TypedDict, total=False):
    """What may be said of a job beside its name; None is as good as nothing.

    It runs either `job_command`, by `sh -c`, or a `handler` with `args`.
    """

    job_command: str | None
    handler: str | None
    args: JsonValue
    description: str | None
    source_type: Literal["none", "git", "copy"] | None
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
    depends_on: Sequence[UUID | str] | None


Asked: TypeAlias = Mapping[str, Any] | JobRequest
"""A job's fields, `name` among them or not."""


class Refused(ValueError):  # noqa: N818  named by what is so, like the rejections
    """The job can't be taken as it is asked for. Nothing of it was written.

    `pointer` (a JSON Pointer) and `message` say what is wrong first, `flaws` everything.
    """

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        first = flaws[0]
        super().__init__(f"{first.pointer}: {first.message}" if first.pointer else first.message)
        self.flaws = tuple(flaws)
        self.pointer = first.pointer
        self.message = first.message


def one(fields: Mapping[str, Any]) -> JobRequest:
    """Return the request of these fields. Raises Refused; `/args` is the pointer of `args`."""
    content = parsed(lambda: parse_object(to_json(_named(fields))))
    return parsed(lambda: JobRequest.model_validate(content))


def many(asked: Iterable[Asked], first: int = 0) -> list[JobRequest]:
    """Return the requests of them all. Raises Refused; `/7/args` points into number 7.

    The numbers begin at `first`.
    """
    try:
        jobs = [_named(_fields_of(one)) for one in asked]
        content = parsed(lambda: parse_object(to_json({"jobs": jobs})))
        return parsed(lambda: _REQUESTS.validate_python(content["jobs"]))
    except Refused as refused:
        raise Refused([_numbered(flaw, first) for flaw in refused.flaws]) from None


def parsed(parse: Callable[[], T]) -> T:
    """Return what `parse` returns; what it refuses becomes Refused."""
    try:
        return parse()
    except Problem as problem:
        raise Refused(problem.flaws) from None
    except ValidationError as error:
        raise Refused(problem_of_validation(error).flaws) from None
    except (ValueError, RecursionError) as error:  # what can't be written as JSON
        raise Refused([Flaw("", "json_invalid", f"Can't be written as JSON: {error}")]) from None


_REQUESTS: Final = TypeAdapter(list[JobRequest])


def _fields_of(asked: Asked) -> Mapping[str, Any]:
    return asked.model_dump(exclude_unset=True) if isinstance(asked, JobRequest) else asked


def _named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given of the fields, and a name."""
    given = {field: value for field, value in fields.items() if value is not None}
    if "name" not in given:
        runs = given.get("handler") or given.get("job_command") or "job"
        given["name"] = str(runs)[:_NAME_LETTERS]
    return given


def _numbered(flaw: Flaw, first: int) -> Flaw:
    """Point into the whole list, by the number that the job has there."""
    _, _, place = flaw.pointer.removeprefix("/jobs").partition("/")
    number, slash, field = place.partition("/")
    if not number.isdecimal():
        return flaw
    return flaw._replace(pointer=f"/{first + int(number)}{slash}{field}")
