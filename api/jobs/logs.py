"""What a job's command printed: as text, with ranges; as NDJSON frames; followed to the end."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response, StreamingResponse

from reactorcide.api.call import Call
from reactorcide.api.fields import RequestModel
from reactorcide.api.jobs.follow import follow
from reactorcide.api.jobs.frames import line_of
from reactorcide.api.jobs.sight import visible_job
from reactorcide.api.pages import QueryInt
from reactorcide.api.streaming import bounds_of, primed
from reactorcide.projections.jobs import Job
from reactorcide.projections.log_chunks import Part
from reactorcide.projections.logs import Logs

TEXT: Final = "text/plain; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
_ATTEMPT: Final = re.compile(r"all|[1-9]\d{0,8}", re.ASCII)


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
    call.services.accesses.note_read("log", call, job.job_id, job.submitted.user_id)
    accepted = call.request.headers.get("accept", "")
    if "text/event-stream" in accepted:
        return follow(call, job)
    part = call.query.part_of(job)
    if NDJSON in accepted:
        return StreamingResponse(await primed(_lines(call, part)), media_type=NDJSON)
    if call.query.tail is not None:
        chunks = await call.services.logs.tail(part, call.query.tail)
        return Response(b"".join(chunk.bytes for chunk in chunks), media_type=TEXT)
    return await _text(call, part)


async def _lines(call: Call[None, LogQuery], part: Part) -> AsyncIterator[bytes]:
    stored, tail = call.services.logs, call.query.tail
    if tail is not None:
        for chunk in await stored.tail(part, tail):
            yield line_of(chunk)
        return
    async for chunk in stored.chunks(part):
        yield line_of(chunk)


async def _text(call: Call[Any, Any], part: Part) -> Response:
    """Answer with the bytes that are there by now, or a range of them."""
    stored = call.services.logs
    size = await stored.size(part)
    bounds = bounds_of(call.request.headers.get("range", ""), size, "log")
    start, stop = bounds or (0, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    status = HTTPStatus.OK
    if bounds is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT
    pieces = _whole(stored, part, size) if bounds is None else stored.slices(part, start, stop)
    return StreamingResponse(await primed(pieces), status, headers, media_type=TEXT)


async def _whole(stored: Logs, part: Part, size: int) -> AsyncIterator[bytes]:
    """Yield exactly `size` bytes: what was added since belongs to the next answer."""
    left = size
    async for chunk in stored.chunks(part):
        yield chunk.bytes[:left]
        left -= len(chunk.bytes)
        if left <= 0:
            return
