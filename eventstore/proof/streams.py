"""Whether each stream goes 1, 2, 3 … and by the rules, with bounded memory.

Streams stay open for ever, so whoever reads the log in the order of positions would have to
remember them all. Events are noted by parts (a stream is in one part only), and a part is looked
through when all is noted. What does not fit into memory waits in files that have no name.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from types import TracebackType
from typing import IO, Any, Final, Self, TypeAlias

from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.domain import (
    access_report,
    archive,
    job_state,
    projection,
    redaction,
    token,
    user,
    worker,
)
from reactorcide.eventstore.domain.events import JobQueued, JobSubmitted
from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.proof.findings import Finding, Wrong, first

_TABLES: Final[Mapping[str, Mapping[Any, Mapping[Any, Any]]]] = {
    "job": job_state.TRANSITIONS,
    "token": token.TRANSITIONS,
    "user": user.TRANSITIONS,
    "worker": worker.TRANSITIONS,
    "redaction": redaction.TRANSITIONS,
    "archive": archive.TRANSITIONS,
    "projection": projection.TRANSITIONS,
    "access": access_report.TRANSITIONS,
}
_PARTS: Final = 64
_IN_MEMORY: Final = 400_000

_Kind: TypeAlias = tuple[bytes, bytes]
"""Stream type and wire type; a blank and more behind it where the type alone does not tell."""

_SUBMITTED: Final = JobSubmitted.wire_type.encode()
_AT_ONCE: Final = b"job", _SUBMITTED + b" at once"
"""A job that does not wait: two steps of the table in one."""


class Streams:
    """Notes events in the order of their positions; `settle` says what is wrong with them.

    Use it as a context manager, which lets go of the files.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        """Keep notes of so many events in memory."""
        self._most = in_memory
        self._held = 0
        self._parts: list[list[bytes]] = [[] for _ in range(_PARTS)]
        self._files: list[IO[bytes]] = []
        self._open = ExitStack()
        self._kinds: dict[_Kind, int] = {}
        self._unknown: Finding | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the files."""
        self._open.close()

    def note(self, events: Sequence[RawEvent]) -> None:
        """Note some more events."""
        parts, kinds = self._parts, self._kinds
        for event in events:
            stream_id, kind = event[10], (event[11], event[13])
            if kind[1] == _SUBMITTED and not _waits(event):
                kind = _AT_ONCE
            number = kinds.get(kind)
            if number is None:
                number = self._new_kind(event, kind)
            parts[hash(stream_id) % _PARTS].append(
                b"%b %b %b %d\n" % (stream_id, event[15], event[6], number)
            )
        self._held += len(events)
        if self._held >= self._most:
            self._spill()

    def settle(self) -> Finding | None:
        """Return the first event that does not follow what is before it in its stream."""
        kinds = list(self._kinds)
        found = self._unknown
        for number in range(_PARTS):
            found = first(found, _first_in(self._noted(number), kinds))
        return found

    def _new_kind(self, event: RawEvent, kind: _Kind) -> int:
        if self._unknown is None and not _is_known(kind):
            stream_type, wire_type = (part.decode() for part in kind)
            detail = f"this version knows no {wire_type} of a {stream_type}; a newer one may"
            self._unknown = Finding(
                Wrong.UNKNOWN, int(event.position), detail, stream_type, event.stream_id.decode()
            )
        return self._kinds.setdefault(kind, len(self._kinds))

    def _spill(self) -> None:
        if not self._files:
            file = tempfile.TemporaryFile
            self._files = [self._open.enter_context(file()) for _ in range(_PARTS)]
        for one, part in zip(self._files, self._parts, strict=True):
            one.writelines(part)
            part.clear()
        self._held = 0

    def _noted(self, number: int) -> Iterable[bytes]:
        if not self._files:
            return self._parts[number]
        file = self._files[number]
        file.seek(0)
        return chain(file, self._parts[number])


def _rules() -> Iterator[tuple[bytes, _Kind, bytes]]:
    """Yield (state, kind, next state); a state is named with its stream type, but the first."""
    for stream_type, table in _TABLES.items():
        for status, row in table.items():
            for event_type, following in row.items():
                state = _NONE if status == _NONE.decode() else f"{stream_type} {status}".encode()
                kind = stream_type.encode(), event_type.wire_type.encode()
                yield state, kind, f"{stream_type} {following}".encode()
                if event_type is JobSubmitted:
                    yield state, _AT_ONCE, f"job {table[following][JobQueued]}".encode()


_NONE: Final = b"none"
_RULES: Final = {(state, kind): following for state, kind, following in _rules()}
_KNOWN: Final = {kind for _, kind in _RULES}
_TYPES: Final = {*(name.encode() for name in EVENT_TYPES), b"event.redacted"}


def _waits(submitted: RawEvent) -> bool:
    """Say whether a job.submitted is followed by a job.queued; in its version 1 all are."""
    if submitted.schema_version == b"1":
        return True
    data = submitted.data
    if b'"waits"' not in data:
        return False
    try:
        found = json.loads(data.replace(rb"\\", b"\\"))
    except (ValueError, RecursionError):  # its hash is looked at elsewhere
        return False
    return isinstance(found, dict) and found.get("waits") is True


def _is_known(kind: _Kind) -> bool:
    """Say whether the rules know the kind; streams that have no table know each of their types."""
    stream_type, wire_type = kind
    return kind in _KNOWN or (stream_type.decode() not in _TABLES and wire_type in _TYPES)


def _next(state: bytes, kind: _Kind) -> bytes | None:
    """Return the state after one more event; None where none is allowed."""
    if (stream_type := kind[0]).decode() in _TABLES:
        return _RULES.get((state, kind))
    return stream_type if state in {_NONE, stream_type} else None


def _first_in(noted: Iterable[bytes], kinds: list[_Kind]) -> Finding | None:
    """Walk a part; events are in the order of their positions, which ascend in a stream."""
    streams: dict[bytes, tuple[int, bytes]] = {}
    rules, nothing = _RULES, (0, _NONE)
    for line in noted:
        stream_id, version, position, number = line.split(b" ")
        before, state = streams.get(stream_id, nothing)
        kind = kinds[int(number)]
        after = rules.get((state, kind)) or _next(state, kind)
        if after is None or int(version) != before + 1:
            if _is_known(kind):
                why = _why(kind, int(version), before, state)
                return Finding(
                    *why[:1], int(position), why[1], kind[0].decode(), stream_id.decode()
                )
            continue  # told by itself
        streams[stream_id] = before + 1, after
    return None


def _why(kind: _Kind, version: int, before: int, state: bytes) -> tuple[Wrong, str]:
    if version != before + 1:
        return Wrong.VERSION_GAP, f"version {version} comes after version {before}"
    state_before = "nothing" if state == _NONE else state.decode()
    return Wrong.UNLAWFUL, f"{kind[1].split()[0].decode()} does not follow {state_before}"
