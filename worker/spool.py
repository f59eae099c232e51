"""Outcomes that could not be reported, kept on disk until somebody hears them.

One file each, whole or not there at all, durable once `keep` returns, for the eyes of the
worker's user alone. Whether an outcome still counts is not known here: the log decides.
"""

import asyncio
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID

import structlog
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from reactorcide.eventstore.domain.job import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    TimedOut,
)
from reactorcide.worker.coordinator import AttemptKey, Chunk, Report
from reactorcide.worker.runner import Stream

MOST_FILES: Final = 10_000
MOST_BYTES: Final = 256 * 1024**2

_ENDING: Final = ".json"
_UNREADABLE: Final = ".unreadable"
_KINDS: Final[dict[str, type[Outcome]]] = {
    kind.__name__.lower(): kind for kind in (Completed, Failed, TimedOut, Cancelled, Released)
}

_log = structlog.get_logger(__name__)


class Spooled(NamedTuple):
    """An outcome that nobody has heard, and the end of the log that goes with it."""

    worker_id: UUID
    """Whose attempt it was."""
    report: Report
    chunks: Sequence[Chunk] = ()


class Spool:
    """The outcomes kept in one directory, which several workers may share, at any time.

    Without a directory it keeps nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    async def keep(self, entries: Sequence[Spooled]) -> None:
        """Keep them, durably; what there is no room for is told in the log, and left out."""
        if self._directory is not None and entries:
            await asyncio.to_thread(self._keep, self._directory, entries)

    def kept(self) -> list[AttemptKey]:
        """Return what is kept, in no order."""
        if self._directory is None:
            return []
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError:  # nothing was ever kept
            return []
        return [key for name in names if (key := _key_of(name)) is not None]

    def read(self, key: AttemptKey) -> Spooled | None:
        """Return one; None when it is gone, or can't be read: then it is put aside."""
        path = self._path_of(key)
        if path is None:
            return None
        try:
            return _File.model_validate_json(path.read_bytes()).spooled()
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _log.error("spooled_outcome_unreadable", path=str(path), detail=str(error))
            self.put_aside(key)
            return None

    def put_aside(self, key: AttemptKey) -> None:
        """Keep one under a name by which nobody looks for it any more."""
        path = self._path_of(key)
        if path is not None:
            path.replace(path.with_suffix(_UNREADABLE))

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        """Keep them no longer; those that are not kept do no harm."""
        for key in keys:
            path = self._path_of(key)
            if path is not None:
                path.unlink(missing_ok=True)

    def _path_of(self, key: AttemptKey) -> Path | None:
        if self._directory is None:
            return None
        return self._directory / f"{key.job_id}.{key.attempt}{_ENDING}"

    def _keep(self, directory: Path, entries: Sequence[Spooled]) -> None:
        kept = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files, used = _used(directory)
            for entry in entries:
                text = _File.of(entry).model_dump_json().encode()
                if files + kept >= MOST_FILES or used + len(text) > MOST_BYTES:
                    break
                path = self._path_of(entry.report.key)
                assert path is not None  # noqa: S101  there is a directory
                _write(path, text)
                used += len(text)
                kept += 1
            _sync(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            _log.error("spool_failed", directory=str(directory), detail=str(error))
        if kept < len(entries):
            _log.error("outcomes_not_kept", attempts=len(entries) - kept)


def _used(directory: Path) -> tuple[int, int]:
    """Return how many files there are, and how many bytes they have."""
    with os.scandir(directory) as found:
        sizes = [entry.stat().st_size for entry in found]
    return len(sizes), sum(sizes)


def _write(path: Path, text: bytes) -> None:
    """Write a file that is there whole, or not at all."""
    draft = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_of(name: str) -> AttemptKey | None:
    """Return what a file's name names; None for one that is not an outcome's."""
    if not name.endswith(_ENDING):
        return None
    job_id, _, attempt = name.removesuffix(_ENDING).rpartition(".")
    try:
        return AttemptKey(UUID(job_id), int(attempt))
    except ValueError:
        return None


_Bytes = Annotated[
    bytes,
    PlainValidator(lambda text: b64decode(text, validate=True)),
    PlainSerializer(lambda data: b64encode(data).decode(), return_type=str),
]


class _Piece(BaseModel):
    """A chunk of the log, as it is in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seq: int
    stream: Stream
    printed_at: AwareDatetime
    data: _Bytes


class _File(BaseModel):
    """What is in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    job_id: UUID
    attempt: int
    worker_id: UUID
    kind: Literal["completed", "failed", "timedout", "cancelled", "released"]
    said: dict[str, JsonValue]
    chunks: tuple[_Piece, ...] = ()

    @classmethod
    def of(cls, entry: Spooled) -> "_File":
        """Return an entry as a file has it."""
        (job_id, attempt), outcome = entry.report
        return cls.model_validate(
            {
                "job_id": UUID(bytes=job_id.bytes),  # the driver's own kind is no UUID to pydantic
                "attempt": attempt,
                "worker_id": UUID(bytes=entry.worker_id.bytes),
                "kind": type(outcome).__name__.lower(),
                "said": asdict(outcome),
                "chunks": [
                    {**chunk._asdict(), "data": b64encode(chunk.data)} for chunk in entry.chunks
                ],
            }
        )

    def spooled(self) -> Spooled:
        """Return the entry. Raises ValidationError when what was said is no such outcome."""
        outcome: Outcome = TypeAdapter(_KINDS[self.kind]).validate_python(self.said)
        chunks = [Chunk(one.seq, one.stream, one.printed_at, one.data) for one in self.chunks]
        key = AttemptKey(self.job_id, self.attempt)
        return Spooled(self.worker_id, Report(key, outcome), tuple(chunks))
