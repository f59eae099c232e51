"""Operations that make jobs: submit, batch, retry; once per Idempotency-Key, once per unique key.

Without a key a submit is one round trip, shared with others that arrive at the same time. With
one it takes a transaction of its own: lock, look, append, keep the answer, commit.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from pydantic_core import to_json
from starlette.responses import Response

from reactorcide.api.call import Call, JsonAnswer
from reactorcide.api.errors import conflict, invalid_field, malformed_request
from reactorcide.api.exchange import exchange_of
from reactorcide.api.jobs.kinds import AlikeJobs
from reactorcide.api.jobs.render import NEW_ETAG, etag_of, location_of, render
from reactorcide.api.jobs.requests import BatchRequest, JobRequest
from reactorcide.api.jobs.sight import commandable_job
from reactorcide.api.jobs.submission import (
    Submission,
    new_alike,
    submit,
    submit_unless_active,
)
from reactorcide.api.services import Services
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.job import retry_request
from reactorcide.eventstore.handle import TransactionDoor
from reactorcide.projections import archives, idempotency, job_rows
from reactorcide.projections.causes import ends_of
from reactorcide.projections.jobs import Job

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)


class Made(NamedTuple):
    """The answer to a submit, as it can be kept and given again."""

    status: int
    body: bytes
    location: str | None = None
    etag: str | None = None
    is_deduplicated: bool = False

    def response(self, *, is_replayed: bool = False) -> Response:
        """Return it as an answer."""
        headers = {}
        if self.location is not None:
            headers["Location"] = self.location
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.is_deduplicated:
            headers["Deduplicated"] = "true"
        if is_replayed:
            headers["Idempotent-Replayed"] = "true"
        return JsonAnswer(self.body, self.status, headers)


Work: TypeAlias = Callable[[Connection], Awaitable[Made]]


async def submit_job(call: Call[JobRequest | AlikeJobs, None]) -> Response:
    """Submit a job."""
    key, asked = _idempotency_key(call), call.body
    if isinstance(asked, AlikeJobs):
        if key is None:
            (job_id,), (text,) = await _submitted_alike(call, asked)
            return Made(HTTPStatus.CREATED, text.encode(), location_of(job_id), NEW_ETAG).response()
        (asked,) = asked.each()
    submission = Submission(asked.submitted(call.caller.user_id, call.services.sealer.seal))
    if key is None and asked.unique_key is None:
        services = call.services
        (job,) = await submit(services.pool, services.jobs, [submission], call.context)
        return _announced(call, _made_one(job)).response()

    async def work(connection: Connection) -> Made:
        return await _one_unless_active(call, connection, submission)

    return await _in_transaction(call, key, work)


async def submit_batch(call: Call[BatchRequest | AlikeJobs, None]) -> Response:
    """Submit up to 1,000 jobs, all or nothing."""
    owner, seal = call.caller.user_id, call.services.sealer.seal
    key, asked = _idempotency_key(call), call.body
    if isinstance(asked, AlikeJobs):
        if key is None:
            _, texts = await _submitted_alike(call, asked)
            body = f'{{"jobs":[{",".join(texts)}]}}'.encode()
            return Made(HTTPStatus.CREATED, body).response()
        requests = asked.each()
    else:
        requests = asked.jobs
    submissions = [
        Submission(one.submitted(owner, seal), f"/jobs/{nth}") for nth, one in enumerate(requests)
    ]
    if key is None and all(one.submitted.unique_key is None for one in submissions):
        services = call.services
        made = await submit(services.pool, services.jobs, submissions, call.context)
        return _announced(call, _made_many(made)).response()

    async def work(connection: Connection) -> Made:
        door = TransactionDoor(connection, job_rows.rows)
        answers, _ = await submit_unless_active(connection, door, submissions, call.context)
        return _made_many(answers)

    return await _in_transaction(call, key, work)


async def _submitted_alike(call: Call[Any, None], alike: AlikeJobs) -> tuple[list[UUID], list[str]]:
    """Submit jobs that nothing holds back, all or nothing, and ring.

    Return their ids, and them as JSON.
    """
    user_id, services = call.caller.user_id, call.services
    append = new_alike(*alike.columns(user_id), call.context)
    made_at = await services.jobs.append_to_new(append, job_rows.rows_to_new, services.doorbell)
    return append.stream_ids, alike.shown(user_id, append.stream_ids, made_at)


async def _end_of(services: Services, job_id: UUID) -> UUID:
    """Return the event that ended a job, which may be archived."""
    ends = await ends_of(services.pool, [job_id])
    if job_id in ends:
        return ends[job_id].event_id
    *_, last = await archives.read_stream(services.pool, services.objects, job_id)
    return last.event_id


async def retry(call: Call[None, None]) -> Response:
    """Submit an ended job once more, as a new one."""
    old = await commandable_job(call)
    cause = await _end_of(call.services, old.job_id)
    call = call._replace(context=replace(call.context, causation_id=cause))
    submission = Submission(retry_request(old.state, old.job_id))
    if submission.submitted.unique_key is None:
        services = call.services
        (job,) = await submit(services.pool, services.jobs, [submission], call.context)
        return _announced(call, _made_one(job)).response()

    async def work(connection: Connection) -> Made:
        return await _one_unless_active(call, connection, submission)

    return await _in_transaction(call, None, work)


async def _one_unless_active(
    call: Call[Any, Any], connection: Connection, submission: Submission
) -> Made:
    door = TransactionDoor(connection, job_rows.rows)
    (job,), new = await submit_unless_active(connection, door, [submission], call.context)
    return _made_one(job, is_deduplicated=job.job_id not in new)


def _made_one(job: Job, *, is_deduplicated: bool = False) -> Made:
    status = HTTPStatus.OK if is_deduplicated else HTTPStatus.CREATED
    body = to_json(render(job))
    return Made(status, body, location_of(job.job_id), etag_of(job), is_deduplicated)


def _made_many(made: Sequence[Job]) -> Made:
    return Made(HTTPStatus.CREATED, to_json({"jobs": [render(job) for job in made]}))


def _announced(call: Call[Any, Any], made: Made) -> Made:
    """Ring, after the commit: workers may claim what was made."""
    call.services.doorbell.ring("jobs")
    call.services.doorbell.ring("events")
    return made


def _idempotency_key(call: Call[Any, Any]) -> str | None:
    if b"idempotency-key" not in exchange_of(call.request.scope).given:
        return None
    given = call.request.headers.getlist("idempotency-key")
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        detail = "Idempotency-Key must be 1 to 255 printable ASCII characters"
        raise malformed_request(detail, code="idempotency_key")
    return given[0]


async def _in_transaction(call: Call[Any, Any], key: str | None, work: Work) -> Response:
    """Do the work and keep its answer in one transaction, or give the first answer again."""
    async with call.services.pool.acquire() as connection, connection.transaction():
        first = None if key is None else await _first_answer(connection, call, key)
        if first is not None:
            return first.response(is_replayed=True)
        made = await work(connection)
        if key is not None:
            answer = _kept(call, made)
            await idempotency.put(connection, call.caller.user_id, key, answer)
    return _announced(call, made).response()


def _kept(call: Call[Any, Any], made: Made) -> idempotency.Answer:
    sha256 = hashlib.sha256(call.raw_body).digest()
    path = call.request.url.path
    return idempotency.Answer(path, sha256, made.status, made.location, made.body.decode())


async def _first_answer(connection: Connection, call: Call[Any, Any], key: str) -> Made | None:
    """Return what this key was answered before. Raises Problem (409, 422)."""
    owner = call.caller.user_id
    if not await idempotency.try_lock(connection, owner, key):
        detail = "The first request with this Idempotency-Key is still being answered"
        raise conflict(detail, current_status="in_flight")
    first = await idempotency.get(connection, owner, key)
    if first is None:
        return None
    sha256 = hashlib.sha256(call.raw_body).digest()
    if first.path != call.request.url.path or first.body_sha256 != sha256:
        message = "The Idempotency-Key was used with another body"
        raise invalid_field(pointer="", code="idempotency_key_reused", message=message)
    version = json.loads(first.body).get("version")
    return Made(
        first.status,
        first.body.encode(),
        first.location,
        None if version is None else f'"{version}"',
        first.status == HTTPStatus.OK,
    )
