"""Jobs that differ in name, command and args alone are of one kind: it is looked at once.

The first job of a kind is held to all rules; of the others only what is their own, by the rules
of the same fields. What is not as plain as that, or not right, is left to the models of
`requests`, which say what is wrong. Opens nothing and writes nothing; what it remembers of kinds
is bounded, and holds nothing of a single job's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import to_json

from reactorcide.api.fields import Command, Name
from reactorcide.api.jobs.render import template
from reactorcide.api.jobs.requests import ARGS_BYTES, BATCH_JOBS, BatchRequest, JobRequest
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JOB
from reactorcide.eventstore.record import Row
from reactorcide.projections.jobs import Job, asked_for

_OWN: Final = ("name", "job_command", "args")
_ITSELF: Final = frozenset({"run_at", "unique_key", "depends_on", "secret_env_vars", "git_url"})
"""What concerns the time, or other jobs, or may hold a secret: no two are sealed alike."""
_STRICT: Final = ConfigDict(strict=True)
_NAMES: Final = TypeAdapter(list[Name], config=_STRICT)
_COMMANDS: Final = TypeAdapter(list[Command], config=_STRICT)
_EACH: Final = TypeAdapter(list[JobRequest])
_KINDS: Final = 16
_JOBS_A_KIND: Final = 4
"""With fewer than so many, after the first kinds, there is nothing to gain."""
_KEPT: Final = 200
_KEPT_BYTES: Final = 2000


class Own(NamedTuple):
    """What a job does not share, as JSON: the texts of its name, command and args."""

    name: str
    job_command: str
    args: str


@dataclass(slots=True)
class Form:
    """What the facts and the answers about jobs of one kind and one user share."""

    fact: JobSubmitted
    head: str
    """The fact as JSON, without what is a job's own and without the bracket behind it."""
    row: Row
    """What follows the name in a job's row, but for the time before which it is not run."""
    pieces: list[str] = field(default_factory=list)
    """The answer as JSON, cut where a job's own is put in; from the first that was made."""


class AlikeJobs(NamedTuple):
    """Jobs that have been checked. The lists are as long as each other."""

    jobs: Sequence[dict[str, Any]]
    """As they were asked for."""
    kinds: list[bytes]
    models: dict[bytes, JobRequest]
    """Of each kind what its jobs share."""
    own: list[Own]

    def each(self) -> list[JobRequest]:
        """Return the requests one by one."""
        return _EACH.validate_python(self.jobs)

    def columns(self, user_id: UUID) -> tuple[list[str], list[Row]]:
        """Return the first fact of each job as the codec would write it, and the job's row.

        The rows are those that `job_rows.new_row` makes of jobs that nothing holds back.
        """
        forms = {kind: _form_of(kind, model, user_id) for kind, model in self.models.items()}
        texts, rows = [], []
        for kind, job, own in zip(self.kinds, self.jobs, self.own, strict=True):
            form = forms[kind]
            texts.append(form.head + _tail(own))
            rows.append((1, user_id, job["name"], *form.row, None))
        return texts, rows

    def shown(self, user_id: UUID, job_ids: Sequence[UUID], made_at: datetime) -> list[str]:
        """Return the answers about the jobs as they were just made, as JSON."""
        forms = {kind: _form_of(kind, model, user_id) for kind, model in self.models.items()}
        created_at = updated_at = to_json(made_at).decode()
        shown = []
        for kind, own, job_id in zip(self.kinds, self.own, job_ids, strict=True):
            form = forms[kind]
            if not form.pieces:
                some = Job(job_id, 1, JOB.evolve(JOB.initial, form.fact), made_at, made_at)
                form.pieces.extend(template(some, ("job_id", *_OWN, "created_at", "updated_at")))
            start, name, command, args, created, updated, end = form.pieces
            shown.append(
                f'{start}"{job_id}"{name}{own.name}{command}{own.job_command}{args}{own.args}'
                f"{created}{created_at}{updated}{updated_at}{end}"
            )
        return shown


def read_job(content: dict[str, Any]) -> JobRequest | AlikeJobs:
    """Return the job of a body. Raises ValidationError."""
    return _alike([content]) or JobRequest.model_validate(content)


def read_batch(content: dict[str, Any]) -> BatchRequest | AlikeJobs:
    """Return the jobs of a body. Raises ValidationError."""
    jobs = content.get("jobs")
    if len(content) == 1 and type(jobs) is list and 0 < len(jobs) <= BATCH_JOBS:
        alike = _alike(jobs)
        if alike is not None:
            return alike
    return BatchRequest.model_validate(content)


def _alike(jobs: Sequence[Any]) -> AlikeJobs | None:
    """Return the jobs, None when there is something to look at one by one."""
    if not all(type(job) is dict for job in jobs):
        return None
    alike = AlikeJobs(jobs, [], {}, [])
    try:
        for nth, job in enumerate(jobs):
            kind = _kind_of(job)
            if kind not in alike.models:
                model = _model_of(kind, job)
                if model is None or len(alike.models) > _KINDS + nth // _JOBS_A_KIND:
                    return None
                alike.models[kind] = model
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


def _model_of(kind: bytes, job: dict[str, Any]) -> JobRequest | None:
    """Return what jobs of a kind share; None if each is to be looked at. Raises ValidationError."""
    model = _models.get(kind)
    if model is None:
        if not _ITSELF.isdisjoint(job):
            return None
        whole = JobRequest.model_validate(job)
        model = whole.model_copy(update={"name": "", "job_command": None, "args": None})
        if len(kind) <= _KEPT_BYTES:
            if len(_models) >= _KEPT:
                _models.clear()
            _models[kind] = model
    return model


def _form_of(kind: bytes, model: JobRequest, user_id: UUID) -> Form:
    form = _forms.get((user_id, kind))
    if form is None:
        fact = model.submitted(user_id, _seal_nothing)
        text = fact.model_dump_json(exclude_defaults=True, exclude=set(_OWN))
        _, _, *row = asked_for(fact)
        form = Form(fact, text.removesuffix("}"), tuple(row))
        if len(kind) <= _KEPT_BYTES:
            if len(_forms) >= _KEPT:
                _forms.clear()
            _forms[user_id, kind] = form
    return form


# Of kinds that were right: what a body is taken for does not depend on who sent others before.
_models: Final[dict[bytes, JobRequest]] = {}
_forms: Final[dict[tuple[UUID, bytes], Form]] = {}


def _seal_nothing(_plain: str, name: str) -> str:
    msg = f"{name} is to be sealed, so its job is of no kind"
    raise ValueError(msg)


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


def _tail(own: Own) -> str:
    """Return the rest of a fact. A field that is null is left out, as the codec does."""
    command = "" if own.job_command == "null" else f',"job_command":{own.job_command}'
    args = "" if own.args == "null" else f',"args":{own.args}'
    return f',"name":{own.name}{command}{args}}}'
