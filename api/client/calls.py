"""Every call of the client, as a program: what is sent, and what its answer means.

The one home of what `Client` and `AsyncClient` do. Opens no connection, reads no environment.
"""

import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

from pydantic_core import to_json

from reactorcide.api.client.asking import ask, read
from reactorcide.api.client.downloading import Download
from reactorcide.api.client.errors import Conflict, Forbidden, NotFound, Refused
from reactorcide.api.client.following import EventStream
from reactorcide.api.client.models import (
    Artifact,
    Artifacts,
    Attempt,
    Event,
    Events,
    Frame,
    Heartbeat,
    Job,
    JobFilter,
    JobId,
    JobRequest,
    Jobs,
    LogFrame,
    LogStream,
    Me,
)
from reactorcide.api.client.steps import Feed, Program, Request, Show

JobList: TypeAlias = list[Job]

_PAGE_JOBS: Final = 200
_BATCH_JOBS: Final = 1000
_BATCH_BYTES: Final = 1_000_000  # the API reads bodies of 1 MiB
_JSON: Final = {"Accept": "application/json"}
_SSE: Final = {"Accept": "text/event-stream"}
_TEXT: Final = {"Accept": "text/plain"}
_FILE: Final = {"Accept": "application/octet-stream"}
_NO_ATTEMPT: Final = {"attempt": "999999999"}
"""Nothing is ever printed by it: the stream of its log brings the job's end alone."""
_LONGEST_POLL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class LogPart:
    """Which part of a log: of the latest attempt, unless another or all are named."""

    stream: LogStream | None = None
    attempt: Attempt | None = None
    tail: int | None = None
    """The last so many lines alone."""

    def query(self) -> dict[str, str]:
        """Return it as the API is asked."""
        given = {"stream": self.stream, "attempt": self.attempt, "tail": self.tail}
        return {name: str(value) for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one client."""

    timeout_seconds: float

    def submit(self, job: JobRequest, key: str | None) -> Program[Job]:
        """Submit one job; a keyed one may be sent again."""
        request = _posted("/jobs", to_json(_given(job)), key)
        return read(Job, (yield from ask(request, self.timeout_seconds)))

    def submit_many(self, jobs: Iterable[JobRequest], key: str | None) -> Program[JobList]:
        """Submit jobs in batches; the nth batch's key is `<key>.<n>`."""
        made: JobList = []
        for nth, batch in enumerate(_batches(jobs)):
            request = _posted("/jobs/batch", batch, None if key is None else f"{key}.{nth}")
            made += read(Jobs, (yield from ask(request, self.timeout_seconds))).jobs
        return made

    def get(self, job_id: JobId) -> Program[Job]:
        """Get one job."""
        request = _asked(_path(job_id))
        return read(Job, (yield from ask(request, self.timeout_seconds)))

    def list(self, wanted: JobFilter, limit: int | None) -> Feed[Job]:
        """Show jobs, newest first, page by page as they are taken."""
        query, left = _query(wanted), limit
        while left is None or left > 0:
            query["limit"] = str(_PAGE_JOBS if left is None else min(left, _PAGE_JOBS))
            answer = yield from ask(_asked("/jobs", query), self.timeout_seconds)
            page = read(Jobs, answer)
            for job in page.jobs:
                yield Show(job)
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor
            left = None if left is None else left - len(page.jobs)

    def cancel(self, job_id: JobId) -> Program[Job]:
        """Cancel with grace."""
        return self._stopped("PUT", job_id, "cancel")

    def kill(self, job_id: JobId) -> Program[Job]:
        """Cancel without grace."""
        return self._stopped("POST", job_id, "kill")

    def _stopped(self, method: str, job_id: JobId, how: str) -> Program[Job]:
        request = Request(method, _path(job_id, how), headers=_JSON, is_repeatable=True)
        answer = yield from ask(request, self.timeout_seconds, is_so=_is_cancelled)
        if not answer.content:
            return (yield from self.get(job_id))
        return read(Job, answer)

    def retry(self, job_id: JobId) -> Program[Job]:
        """Submit an ended job again."""
        request = Request("POST", _path(job_id, "retry"), headers=_JSON)
        return read(Job, (yield from ask(request, self.timeout_seconds)))

    def delete(self, job_id: JobId) -> Program[None]:
        """Take an ended job off every list."""
        request = Request("DELETE", _path(job_id), headers=_JSON, is_repeatable=True)
        yield from ask(request, self.timeout_seconds, is_so=_is_gone)

    def events(self, job_id: JobId) -> Program[tuple[Event, ...]]:
        """Get what happened to a job."""
        request = _asked(_path(job_id, "events"))
        return read(Events, (yield from ask(request, self.timeout_seconds))).events

    def follow_events(self, after: int | None) -> Feed[Event]:
        """Show what happens, as far as the caller may see it. Ends only with an error."""
        query = {} if after is None else {"after": str(after)}
        stream = EventStream(_asked("/events/stream", query, _SSE), self.timeout_seconds)
        while True:
            event = yield from stream.next()
            if event.id is not None:
                yield Show(read(Event, event.data))
            elif event.type == "heartbeat":
                stream.resume_after(str(read(Heartbeat, event.data).position))

    def follow_job_events(self, job_id: JobId) -> Feed[Event]:
        """Show what happened and happens to a job, until it has ended."""
        stream = EventStream(_asked(_path(job_id, "events"), {}, _SSE), self.timeout_seconds)
        while (event := (yield from stream.next())).type != "end":
            if event.id is not None:
                yield Show(read(Event, event.data))

    def logs(self, job_id: JobId, part: LogPart) -> Program[bytes]:
        """Get what a job printed so far."""
        request = _asked(_path(job_id, "logs"), part.query(), _TEXT)
        return (yield from ask(request, self.timeout_seconds)).content

    def artifacts(self, job_id: JobId, attempt: int | None) -> Program[tuple[Artifact, ...]]:
        """Get the list of what a job left."""
        request = _asked(_path(job_id, "artifacts"), _of(attempt))
        return read(Artifacts, (yield from ask(request, self.timeout_seconds))).artifacts

    def download(self, job_id: JobId, path: str, attempt: int | None) -> Feed[bytes]:
        """Show what one of these files holds."""
        where = _path(job_id, "artifacts", quote(path))
        request = _asked(where, _of(attempt), _FILE)
        return Download(request, self.timeout_seconds).pieces()

    def follow_logs(self, job_id: JobId, part: LogPart) -> Feed[LogFrame]:
        """Show what a job prints until it has ended."""
        request = _asked(_path(job_id, "logs"), part.query(), _SSE)
        stream = EventStream(request, self.timeout_seconds)
        while (event := (yield from stream.next())).type != "end":
            if event.type == "log":
                yield Show(read(Frame, event.data).exact())

    def wait(self, job_id: JobId, wait_seconds: float | None) -> Program[Job]:
        """Wait for a job's end: told by the API, or asking where the token may read no log."""
        request = _asked(_path(job_id, "logs"), _NO_ATTEMPT, _SSE)
        stream = EventStream(request, self.timeout_seconds, wait_seconds)
        try:
            while (yield from stream.next()).type != "end":
                pass
        except Forbidden:
            return (yield from self._polled(job_id, stream))
        return (yield from self.get(job_id))

    def _polled(self, job_id: JobId, stream: EventStream) -> Program[Job]:
        longest = 0.2
        while not (job := (yield from self.get(job_id))).has_ended:
            yield from stream.rest(random.uniform(longest / 2, longest))  # noqa: S311 - jitter
            longest = min(longest * 1.5, _LONGEST_POLL_SECONDS)
        return job

    def me(self) -> Program[Me]:
        """Get who the caller is."""
        return read(Me, (yield from ask(_asked("/me"), self.timeout_seconds)))


def key_of(idempotency_key: str | None, *, is_retry_safe: bool) -> str | None:
    """Return the key to send: the given one, or a new one for a submit that may be repeated."""
    if idempotency_key is None and is_retry_safe:
        return str(uuid.uuid4())
    return idempotency_key


def _path(job_id: JobId, *rest: str) -> str:
    """Return the path of a job. Raises ValueError for what is no UUID."""
    return "/".join(("/jobs", str(UUID(str(job_id))), *rest))


def _of(attempt: int | None) -> dict[str, str]:
    return {} if attempt is None else {"attempt": str(attempt)}


def _asked(
    path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] = _JSON
) -> Request:
    return Request("GET", path, dict(query or {}), headers, is_repeatable=True)


def _posted(path: str, content: bytes, key: str | None) -> Request:
    headers = {**_JSON, "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return Request("POST", path, {}, headers, content, is_repeatable=key is not None)


def _given(job: JobRequest) -> dict[str, object]:
    return {name: value for name, value in job.items() if value is not None}


def _batches(jobs: Iterable[JobRequest]) -> Iterator[bytes]:
    """Yield bodies of as many jobs as one may hold."""
    batch: list[bytes] = []
    size = 0
    for job in jobs:
        content = to_json(_given(job))
        if batch and (len(batch) == _BATCH_JOBS or size + len(content) > _BATCH_BYTES):
            yield _body(batch)
            batch, size = [], 0
        batch.append(content)
        size += len(content) + 1
    if batch:
        yield _body(batch)


def _body(batch: Sequence[bytes]) -> bytes:
    return b'{"jobs":[' + b",".join(batch) + b"]}"


def _query(wanted: JobFilter) -> dict[str, str]:
    given = {name: value for name, value in wanted.items() if value is not None}
    labels = given.pop("labels", {})
    if isinstance(labels, Mapping):
        given |= {f"label.{name}": value for name, value in labels.items()}
    return {name: _text(value) for name, value in given.items()}


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_cancelled(error: Refused) -> bool:
    return isinstance(error, Conflict) and error.current_status == "cancelled"


def _is_gone(error: Refused) -> bool:
    return isinstance(error, NotFound)
