"""The client for programs without an event loop. Carries out steps; what they are, `calls` says."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar, Unpack, assert_never

import httpx2

from reactorcide.api.client.calls import Calls, JobList, LogPart, key_of
from reactorcide.api.client.models import (
    Artifact,
    Attempt,
    Event,
    Job,
    JobFilter,
    JobId,
    JobRequest,
    LogFrame,
    LogStream,
    Me,
)
from reactorcide.api.client.steps import (
    Answer,
    Ask,
    Feed,
    Open,
    Pause,
    Program,
    Read,
    Reply,
    Show,
    Step,
)
from reactorcide.api.client.wire import LIMITS, Origin, answer_of, is_refusal, lost

T = TypeVar("T")


class Client:
    """One API and one token. A context manager; threads may share it.

    Without arguments it takes REACTORCIDE_API_URL and REACTORCIDE_API_TOKEN as they are when it
    is made. `timeout_seconds` is for a whole call, its repetitions among it. Connections are
    opened when needed and kept. Every call raises ClientError, and ValueError for an id that is
    no UUID.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout_seconds: float = 30.0
    ) -> None:
        self._origin = Origin.given(url, token)
        self._calls = Calls(timeout_seconds)
        self._http = httpx2.Client(limits=LIMITS)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close its connections; it is of no use afterwards."""
        self._http.close()

    def submit(
        self,
        *,
        retry_safe: bool = True,
        idempotency_key: str | None = None,
        **job: Unpack[JobRequest],
    ) -> Job:
        """Submit a job: `job_command`, or `handler` with `args`, and how it is to run.

        A retry-safe submit carries a key (the given one, else a new one), so that sending it
        again when its answer is lost never makes a second job. Without (`retry_safe=False` and
        no key) it is sent once: half the work for the server; Unavailable leaves open whether
        there is a job.
        """
        key = key_of(idempotency_key, is_retry_safe=retry_safe)
        return self._run(self._calls.submit(job, key))

    def submit_many(
        self,
        jobs: Iterable[JobRequest],
        *,
        retry_safe: bool = True,
        idempotency_key: str | None = None,
    ) -> JobList:
        """Submit any number of jobs; return them in the same order.

        They go in batches of up to 1,000, each all or nothing. After an error, the same jobs
        with the same `idempotency_key` make only those that are missing.
        """
        key = key_of(idempotency_key, is_retry_safe=retry_safe)
        return self._run(self._calls.submit_many(jobs, key))

    def get(self, job_id: JobId) -> Job:
        """Return a job as it stands."""
        return self._run(self._calls.get(job_id))

    def list(self, *, limit: int | None = None, **wanted: Unpack[JobFilter]) -> Iterator[Job]:
        """Yield jobs, newest first, `limit` at most; pages are fetched as they are needed."""
        return self._shown(self._calls.list(wanted, limit))

    def cancel(self, job_id: JobId) -> Job:
        """Cancel a job: TERM, ten seconds later KILL. An ended one is a Conflict."""
        return self._run(self._calls.cancel(job_id))

    def kill(self, job_id: JobId) -> Job:
        """Cancel a job without grace (operator, admin)."""
        return self._run(self._calls.kill(job_id))

    def retry(self, job_id: JobId) -> Job:
        """Submit an ended job once more; return the new one. Sent once, never repeated."""
        return self._run(self._calls.retry(job_id))

    def delete(self, job_id: JobId) -> None:
        """Take an ended job off every list."""
        self._run(self._calls.delete(job_id))

    def events(self, job_id: JobId) -> tuple[Event, ...]:
        """Return what happened to a job, oldest first."""
        return self._run(self._calls.events(job_id))

    def follow_events(self, *, after: int | None = None) -> Iterator[Event]:
        """Yield what happens, as far as the token may see it, from now on and without end.

        With `after` what stands behind that position comes first (0: from the beginning). A
        stream that breaks is taken up where it broke: nothing is missing, nothing comes twice.
        """
        return self._shown(self._calls.follow_events(after))

    def follow_job_events(self, job_id: JobId) -> Iterator[Event]:
        """Yield what happened to a job, then what happens, until it has ended."""
        return self._shown(self._calls.follow_job_events(job_id))

    def logs(
        self,
        job_id: JobId,
        *,
        stream: LogStream | None = None,
        attempt: Attempt | None = None,
        tail: int | None = None,
    ) -> bytes:
        """Return what a job printed so far, or its last `tail` lines: of its latest attempt."""
        return self._run(self._calls.logs(job_id, LogPart(stream, attempt, tail)))

    def artifacts(self, job_id: JobId, *, attempt: int | None = None) -> tuple[Artifact, ...]:
        """Return which files a job left, by path: of the latest attempt that left any."""
        return self._run(self._calls.artifacts(job_id, attempt))

    def download(self, job_id: JobId, path: str, *, attempt: int | None = None) -> Iterator[bytes]:
        """Yield what one of these files holds, piece by piece.

        A stream that breaks is taken up where it broke. What does not end in NotUnderstood is
        what was kept: that is known at the end.
        """
        return self._shown(self._calls.download(job_id, path, attempt))

    def follow_logs(
        self,
        job_id: JobId,
        *,
        stream: LogStream | None = None,
        attempt: Attempt | None = None,
        tail: int | None = None,
    ) -> Iterator[LogFrame]:
        """Yield what a job prints, from its latest attempt's beginning until the job has ended.

        A stream that breaks is taken up where it broke: nothing is missing, nothing comes twice.
        """
        return self._shown(self._calls.follow_logs(job_id, LogPart(stream, attempt, tail)))

    def wait(self, job_id: JobId, timeout_seconds: float | None = None) -> Job:
        """Return the job when it has ended. Raises NotEnded after `timeout_seconds`."""
        return self._run(self._calls.wait(job_id, timeout_seconds))

    def me(self) -> Me:
        """Return who the caller is, and what its token opens."""
        return self._run(self._calls.me())

    def _run(self, program: Program[T]) -> T:
        line = _Line(self._http, self._origin)
        try:
            step = next(program)
            while True:
                step = program.send(line.do(step))
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            line.close()

    def _shown(self, feed: Feed[T]) -> Iterator[T]:
        line = _Line(self._http, self._origin)
        try:
            step = next(feed)
            while True:
                if isinstance(step, Show):
                    yield step.item
                    step = next(feed)
                else:
                    step = feed.send(line.do(step))
        except StopIteration:
            return
        finally:
            line.close()


class _Line:
    """Carries out the steps of one program; holds the stream that it has opened."""

    def __init__(self, http: httpx2.Client, origin: Origin) -> None:
        self._http = http
        self._origin = origin
        self._response: httpx2.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def do(self, step: Step) -> Reply:
        try:
            match step:
                case Ask():
                    response = self._http.send(self._origin.request(step))
                    return answer_of(response, response.content)
                case Open():
                    return self._open(step)
                case Read():
                    return Answer(content=next(self._pieces, b""))
                case Pause():
                    time.sleep(step.seconds)
                    return Answer()
                case _:
                    assert_never(step)
        except httpx2.RequestError as error:
            return lost(error)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _open(self, step: Open) -> Answer:
        self.close()
        self._response = response = self._http.send(self._origin.request(step), stream=True)
        self._pieces = response.iter_bytes()
        return answer_of(response, response.read() if is_refusal(response) else b"")
