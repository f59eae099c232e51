"""How a log is written down in the object store, and found again in there. Pure.

An object is a row of blocks; each block is a gzip member (RFC 1952) of lines of JSON, one for
each chunk. So `zcat` shows the whole log with its times, and a block can be read by itself.
"""

import base64
import gzip
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from reactorcide.projections.log_chunks import LogChunk, Stream


class _Frame(BaseModel):
    seq: int
    at: datetime
    attempt: int
    stream: Stream
    data: str | None = None
    data_base64: str | None = None


class Layout(NamedTuple):
    """Where the blocks of an object end: in the object, in the log, in each of its streams."""

    block_ends: Sequence[int] = ()
    last_seqs: Sequence[int] = ()
    stdout_ends: Sequence[int] = ()
    stderr_ends: Sequence[int] = ()

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.block_ends)

    def place(self, first: int, stop: int) -> tuple[int, int]:
        """Return where blocks `first` (included) to `stop` (not included) lie in the object."""
        return (self.block_ends[first - 1] if first else 0), self.block_ends[stop - 1]

    def ends(self, stream: Stream | None) -> Sequence[int]:
        """Return how many bytes have been printed by the end of each block."""
        match stream:
            case "stdout":
                return self.stdout_ends
            case "stderr":
                return self.stderr_ends
            case None:
                both = zip(self.stdout_ends, self.stderr_ends, strict=True)
                return [out + err for out, err in both]

    def size(self, stream: Stream | None) -> int:
        """Return how many bytes were printed in all."""
        return self.ends(stream)[-1] if self.blocks else 0

    def after(self, seq: int) -> int:
        """Return the block in which the chunks after `seq` begin; `blocks` when none follows."""
        return bisect_right(self.last_seqs, seq)

    def holding(self, seq: int) -> int:
        """Return the block of chunk `seq`, the last one when it comes behind all."""
        return min(bisect_left(self.last_seqs, seq), self.blocks - 1)

    def with_block(self, size: int, chunks: Sequence[LogChunk]) -> "Layout":
        """Return it with one more block, of so many bytes in the object."""
        out = sum(len(chunk.bytes) for chunk in chunks if chunk.stream == "stdout")
        err = sum(len(chunk.bytes) for chunk in chunks if chunk.stream == "stderr")
        return Layout(
            (*self.block_ends, (self.block_ends[-1] if self.blocks else 0) + size),
            (*self.last_seqs, chunks[-1].seq),
            (*self.stdout_ends, self.size("stdout") + out),
            (*self.stderr_ends, self.size("stderr") + err),
        )


def encode(chunks: Sequence[LogChunk]) -> bytes:
    """Return chunks as a block."""
    lines = b"".join(to_json(_frame_of(chunk)) + b"\n" for chunk in chunks)
    return gzip.compress(lines, compresslevel=1, mtime=0)


def decode(blocks: bytes, job_id: UUID) -> list[LogChunk]:
    """Return the chunks of one block or more. Raises ValueError for what is no block."""
    try:
        lines = gzip.decompress(blocks).splitlines()
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from error
    return [_chunk_of(_Frame.model_validate_json(line), job_id) for line in lines]


def _frame_of(chunk: LogChunk) -> dict[str, object]:
    frame = {
        "seq": chunk.seq,
        "at": chunk.printed_at,
        "attempt": chunk.attempt,
        "stream": chunk.stream,
    }
    try:
        text = None if b"\0" in chunk.bytes else chunk.bytes.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        return {**frame, "data_base64": base64.b64encode(chunk.bytes).decode()}
    return {**frame, "data": text}


def _chunk_of(frame: _Frame, job_id: UUID) -> LogChunk:
    exact = frame.data_base64
    data = (frame.data or "").encode() if exact is None else base64.b64decode(exact)
    return LogChunk(job_id, frame.attempt, frame.seq, frame.stream, frame.at, data)
