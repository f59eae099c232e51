"""A batch of jobs that differ in name, command and args alone: what they share is looked at once.

One job of each kind is held to all rules; of the others only what is their own, by the rules of
the same fields, all at a time. What is not as plain as that, or not right, is left to
`BatchRequest`, which says what is wrong. Opens nothing and writes nothing.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import to_json

from reactorcide.api.fields import Command, Name
from reactorcide.api.jobs.render import template
from reactorcide.api.jobs.requests import ARGS_BYTES, BATCH_JOBS, BatchRequest, JobRequest, Seal
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.projections.jobs import Job

_OWN: Final = ("name", "job_command", "args")
_ITSELF: Final = frozenset({"run_at", "unique_key", "depends_on", "secret_env_vars", "git_url"})
"""What concerns the time, or other jobs, or may hold a secret: no two are sealed alike."""
_STRICT: Final = ConfigDict(strict=True)
_NAMES: Final = TypeAdapter(list[Name], config=_STRICT)
_COMMANDS: Final = TypeAdapter(list[Command], config=_STRICT)
_KINDS: Final = 16
_JOBS_A_KIND: Final = 4
"""With fewer than so many, after the first kinds, there is nothing to gain."""


class Own(NamedTuple):
    """What a job does not share, as JSON: the texts of its name, command and args."""

    name: str
    job_command: str
    args: str


class AlikeJobs(NamedTuple):
    """The jobs of a batch, which have been checked. The lists are as long as each other."""

    content: dict[str, Any]
    jobs: list[dict[str, Any]]
    kinds: list[bytes]
    """What each shares with others."""
    models: dict[bytes, JobRequest]
    """The first job of each kind."""
    own: list[Own]

    def each(self) -> BatchRequest:
        """Return the requests one by one."""
        return BatchRequest.model_validate(self.content)

    def facts(self, user_id: UUID, seal: Seal) -> tuple[list[JobSubmitted], list[str]]:
        """Return the first fact of each job, and that as the codec would write it."""
        firsts = {kind: model.submitted(user_id, seal) for kind, model in self.models.items()}
        heads = {kind: _head(first) for kind, first in firsts.items()}
        facts, texts = [], []
        for kind, job, own in zip(self.kinds, self.jobs, self.own, strict=True):
            fields = firsts[kind].__dict__.copy()
            for name in _OWN:
                fields[name] = job.get(name)
            facts.append(JobSubmitted.of(fields))
            texts.append(heads[kind] + _tail(own))
        return facts, texts

    def shown(self, made: Sequence[Job]) -> bytes:
        """Return the answer that lists the jobs as they were made; all at one time."""
        templates: dict[bytes, list[str]] = {}
        shown = []
        for kind, own, job in zip(self.kinds, self.own, made, strict=True):
            if kind not in templates:
                templates[kind] = template(job, ("job_id", *_OWN))
            start, name, command, args, end = templates[kind]
            shown.append(
                f'{start}"{job.job_id}"{name}{own.name}{command}{own.job_command}'
                f"{args}{own.args}{end}"
            )
        return f'{{"jobs":[{",".join(shown)}]}}'.encode()


def read_batch(content: dict[str, Any]) -> BatchRequest | AlikeJobs:
    """Return the jobs of a body. Raises ValidationError."""
    return _alike(content) or BatchRequest.model_validate(content)


def _alike(content: dict[str, Any]) -> AlikeJobs | None:
    """Return the jobs of a body, None when there is something to look at one by one."""
    jobs = content.get("jobs")
    if len(content) != 1 or type(jobs) is not list or not 0 < len(jobs) <= BATCH_JOBS:
        return None
    if not all(type(job) is dict for job in jobs):
        return None
    alike = AlikeJobs(content, jobs, [], {}, [])
    try:
        for nth, job in enumerate(jobs):
            kind = _kind_of(job)
            if kind not in alike.models:
                if not _ITSELF.isdisjoint(job) or len(alike.models) > _KINDS + nth // _JOBS_A_KIND:
                    return None
                alike.models[kind] = JobRequest.model_validate(job)
            alike.kinds.append(kind)
        _NAMES.validate_python([job["name"] for job in jobs])
        commands = [job.get("job_command") for job in jobs]
        _COMMANDS.validate_python([command for command in commands if command is not None])
        alike.own.extend(map(_own_of, jobs))
    except ValueError:
        return None
    return alike


def _kind_of(job: dict[str, Any]) -> bytes:
    """Return what a job shares with others: what it gives, but for the values of its own."""
    shared = job.copy()
    for name in _OWN:
        if shared.get(name) is not None:
            shared[name] = ""
    return to_json(shared)


def _own_of(job: dict[str, Any]) -> Own:
    """Raise ValueError for args that are too long."""
    name, command, args = job["name"], job.get("job_command"), job.get("args")
    written = b"null" if args is None else to_json(args)
    if len(written) > ARGS_BYTES:
        raise ValueError
    return Own(
        to_json(name).decode(),
        "null" if command is None else to_json(command).decode(),
        written.decode(),
    )


def _head(first: JobSubmitted) -> str:
    """Return a fact without what is a job's own, and without the bracket behind it."""
    return first.model_dump_json(exclude_defaults=True, exclude=set(_OWN)).removesuffix("}")


def _tail(own: Own) -> str:
    """Return the rest. A field that is null is left out, as the codec does."""
    command = "" if own.job_command == "null" else f',"job_command":{own.job_command}'
    args = "" if own.args == "null" else f',"args":{own.args}'
    return f',"name":{own.name}{command}{args}}}'
