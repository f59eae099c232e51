"""What a job's command printed: as text, with ranges; as NDJSON frames; followed to the end."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response, StreamingResponse

from reactorcide.api.call import Call
from reactorcide.api.errors import range_not_satisfiable
from reactorcide.api.fields import RequestModel
from reactorcide.api.jobs.follow import follow
from reactorcide.api.jobs.frames import line_of
from reactorcide.api.jobs.sight import visible_job
from reactorcide.api.pages import QueryInt
from reactorcide.eventstore.database import Pool
from reactorcide.projections import log_chunks
from reactorcide.projections.jobs import Job
from reactorcide.projections.log_chunks import LogChunk, Part

TEXT: Final = "text/plain; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
_SLICE_BYTES: Final = 1 << 20
_ATTEMPT: Final = re.compile(r"all|[1-9]\d{0,8}", re.ASCII)
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def _attempt(text: str) -> str:
    if not _ATTEMPT.fullmatch(text):
        code = "attempt"
        raise PydanticCustomError(code, "Must be the number of an attempt, or all")
    return text


class LogQuery(RequestModel):
    """Which part of a log."""

    tail: Annotated[QueryInt, Field(ge=0, le=1_000_000)] | None = None
    stream: Literal["stdout", "stderr"] | None = None
    attempt: Annotated[str, AfterValidator(_attempt)] | None = None

    def part_of(self, job: Job) -> Part:
        """Return the part of the job's log that is asked for: the latest attempt's at first."""
        if self.attempt == "all":
            return Part(job.job_id, None, self.stream)
        number = job.state.attempt if self.attempt is None else int(self.attempt)
        return Part(job.job_id, number, self.stream)


async def logs(call: Call[None, LogQuery]) -> Response:
    """Answer with the log in the form that Accept asks for."""
    job = await visible_job(call)
    accepted = call.request.headers.get("accept", "")
    if "text/event-stream" in accepted:
        return follow(call, job)
    part = call.query.part_of(job)
    if NDJSON in accepted:
        return StreamingResponse(_lines(call, part), media_type=NDJSON)
    if call.query.tail is not None:
        chunks = await log_chunks.tail(call.services.pool, part, call.query.tail)
        return Response(b"".join(chunk.bytes for chunk in chunks), media_type=TEXT)
    return await _text(call, part)


async def _lines(call: Call[None, LogQuery], part: Part) -> AsyncIterator[bytes]:
    pool, tail = call.services.pool, call.query.tail
    if tail is not None:
        for chunk in await log_chunks.tail(pool, part, tail):
            yield line_of(chunk)
        return
    async for chunk in _chunks(pool, part):
        yield line_of(chunk)


async def _chunks(pool: Pool, part: Part) -> AsyncIterator[LogChunk]:
    after = (0, 0)
    while found := await log_chunks.read(pool, part, after):
        for chunk in found:
            yield chunk
        after = (found[-1].attempt, found[-1].seq)


async def _text(call: Call[Any, Any], part: Part) -> Response:
    """Answer with the bytes that are there by now, or a range of them."""
    pool = call.services.pool
    size = await log_chunks.size(pool, part)
    headers = {"Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(call.request.headers.get("range", ""))
    bounds = None if asked is None else _bounds(asked[1], asked[2], size)
    if bounds is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(_whole(pool, part, size), headers=headers, media_type=TEXT)
    start, stop = bounds
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    slices = _slices(pool, part, start, stop)
    return StreamingResponse(slices, HTTPStatus.PARTIAL_CONTENT, headers, media_type=TEXT)


def _bounds(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Return start and stop of a range; None for one that means nothing. Raises Problem (416)."""
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise range_not_satisfiable(size)
    return start, stop


async def _whole(pool: Pool, part: Part, size: int) -> AsyncIterator[bytes]:
    """Yield exactly `size` bytes: what was added since belongs to the next answer."""
    left = size
    async for chunk in _chunks(pool, part):
        yield chunk.bytes[:left]
        left -= len(chunk.bytes)
        if left <= 0:
            return


async def _slices(pool: Pool, part: Part, start: int, stop: int) -> AsyncIterator[bytes]:
    for begin in range(start, stop, _SLICE_BYTES):
        yield await log_chunks.read_range(pool, part, begin, min(begin + _SLICE_BYTES, stop))
