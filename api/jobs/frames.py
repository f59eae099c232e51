"""How pieces of a log are written: as frames of JSON, and as server-sent events."""

import base64
from typing import Any

from pydantic_core import to_json

from reactorcide.projections.jobs import Job
from reactorcide.projections.log_chunks import LogChunk

HEARTBEAT = b": still here\n\n"


def frame_of(chunk: LogChunk) -> dict[str, Any]:
    """Return a chunk as a frame; bytes that are no UTF-8 come once more in base64."""
    frame = {
        "seq": chunk.seq,
        "at": chunk.printed_at,
        "attempt": chunk.attempt,
        "stream": chunk.stream,
    }
    try:
        frame["data"] = chunk.bytes.decode()
    except UnicodeDecodeError:
        frame["data"] = chunk.bytes.decode(errors="replace")
        frame["data_base64"] = base64.b64encode(chunk.bytes).decode()
    return frame


def line_of(chunk: LogChunk) -> bytes:
    """Return a chunk as a line of NDJSON."""
    return to_json(frame_of(chunk)) + b"\n"


def log_event(chunk: LogChunk) -> bytes:
    """Return a chunk as an event; its id is what a client resumes after."""
    data = to_json(frame_of(chunk))
    return b"id: %d-%d\nevent: log\ndata: %b\n\n" % (chunk.attempt, chunk.seq, data)


def end_event(job: Job) -> bytes:
    """Return the last event of a stream: how the job ended."""
    ending = {"status": job.state.status, "exit_code": job.state.exit_code}
    return b"event: end\ndata: %b\n\n" % to_json(ending)
