"""The client for asyncio. Carries out steps; what they are, `calls` says."""

import asyncio
from collections.abc import AsyncIterator, Iterable
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


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited, and `async for` over jobs and frames.

    An asynchronous context manager; the tasks of one event loop may share it. Close an iterator
    that is left early (`contextlib.aclosing`), as with any asynchronous generator.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout_seconds: float = 30.0
    ) -> None:
        self._origin = Origin.given(url, token)
        self._calls = Calls(timeout_seconds)
        self._http = httpx2.AsyncClient(limits=LIMITS)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close its connections; it is of no use afterwards."""
        await self._http.aclose()

    async def submit(
        self,
        *,
        retry_safe: bool = True,
        idempotency_key: str | None = None,
        **job: Unpack[JobRequest],
    ) -> Job:
        """Do what `Client.submit` does."""
        key = key_of(idempotency_key, is_retry_safe=retry_safe)
        return await self._run(self._calls.submit(job, key))

    async def submit_many(
        self,
        jobs: Iterable[JobRequest],
        *,
        retry_safe: bool = True,
        idempotency_key: str | None = None,
    ) -> JobList:
        """Do what `Client.submit_many` does."""
        key = key_of(idempotency_key, is_retry_safe=retry_safe)
        return await self._run(self._calls.submit_many(jobs, key))

    async def get(self, job_id: JobId) -> Job:
        """Do what `Client.get` does."""
        return await self._run(self._calls.get(job_id))

    def list(self, *, limit: int | None = None, **wanted: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Do what `Client.list` does."""
        return self._shown(self._calls.list(wanted, limit))

    async def cancel(self, job_id: JobId) -> Job:
        """Do what `Client.cancel` does."""
        return await self._run(self._calls.cancel(job_id))

    async def kill(self, job_id: JobId) -> Job:
        """Do what `Client.kill` does."""
        return await self._run(self._calls.kill(job_id))

    async def retry(self, job_id: JobId) -> Job:
        """Do what `Client.retry` does."""
        return await self._run(self._calls.retry(job_id))

    async def delete(self, job_id: JobId) -> None:
        """Do what `Client.delete` does."""
        await self._run(self._calls.delete(job_id))

    async def events(self, job_id: JobId) -> tuple[Event, ...]:
        """Do what `Client.events` does."""
        return await self._run(self._calls.events(job_id))

    def follow_events(self, *, after: int | None = None) -> AsyncIterator[Event]:
        """Do what `Client.follow_events` does."""
        return self._shown(self._calls.follow_events(after))

    def follow_job_events(self, job_id: JobId) -> AsyncIterator[Event]:
        """Do what `Client.follow_job_events` does."""
        return self._shown(self._calls.follow_job_events(job_id))

    async def logs(
        self,
        job_id: JobId,
        *,
        stream: LogStream | None = None,
        attempt: Attempt | None = None,
        tail: int | None = None,
    ) -> bytes:
        """Do what `Client.logs` does."""
        return await self._run(self._calls.logs(job_id, LogPart(stream, attempt, tail)))

    async def artifacts(self, job_id: JobId, *, attempt: int | None = None) -> tuple[Artifact, ...]:
        """Do what `Client.artifacts` does."""
        return await self._run(self._calls.artifacts(job_id, attempt))

    def download(
        self, job_id: JobId, path: str, *, attempt: int | None = None
    ) -> AsyncIterator[bytes]:
        """Do what `Client.download` does."""
        return self._shown(self._calls.download(job_id, path, attempt))

    def follow_logs(
        self,
        job_id: JobId,
        *,
        stream: LogStream | None = None,
        attempt: Attempt | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogFrame]:
        """Do what `Client.follow_logs` does."""
        return self._shown(self._calls.follow_logs(job_id, LogPart(stream, attempt, tail)))

    async def wait(self, job_id: JobId, timeout_seconds: float | None = None) -> Job:
        """Do what `Client.wait` does."""
        return await self._run(self._calls.wait(job_id, timeout_seconds))

    async def me(self) -> Me:
        """Do what `Client.me` does."""
        return await self._run(self._calls.me())

    async def _run(self, program: Program[T]) -> T:
        line = _Line(self._http, self._origin)
        try:
            step = next(program)
            while True:
                step = program.send(await line.do(step))
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            await line.close()

    async def _shown(self, feed: Feed[T]) -> AsyncIterator[T]:
        line = _Line(self._http, self._origin)
        try:
            step = next(feed)
            while True:
                if isinstance(step, Show):
                    yield step.item
                    step = next(feed)
                else:
                    step = feed.send(await line.do(step))
        except StopIteration:
            return
        finally:
            await line.close()


class _Line:
    """Carries out the steps of one program; holds the stream that it has opened."""

    def __init__(self, http: httpx2.AsyncClient, origin: Origin) -> None:
        self._http = http
        self._origin = origin
        self._response: httpx2.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def do(self, step: Step) -> Reply:
        try:
            match step:
                case Ask():
                    response = await self._http.send(self._origin.request(step))
                    return answer_of(response, response.content)
                case Open():
                    return await self._open(step)
                case Read():
                    return Answer(content=await self._piece())
                case Pause():
                    await asyncio.sleep(step.seconds)
                    return Answer()
                case _:
                    assert_never(step)
        except httpx2.RequestError as error:
            return lost(error)

    async def _piece(self) -> bytes:
        return b"" if self._pieces is None else await anext(self._pieces, b"")

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    async def _open(self, step: Open) -> Answer:
        await self.close()
        self._response = response = await self._http.send(self._origin.request(step), stream=True)
        self._pieces = response.aiter_bytes()
        return answer_of(response, await response.aread() if is_refusal(response) else b"")
