"""Goes through a bundle, and finds the first thing that is wrong: with a public key alone.

`bundle` has the format. Only what is between its lines is looked at: no database, no other file.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import HASH_BYTES
from reactorcide.eventstore.proof.bundle import (
    BundleBroken,
    Holds,
    header_of,
    leaf_of,
    lines_of,
)
from reactorcide.eventstore.proof.findings import Finding, Wrong, first
from reactorcide.eventstore.proof.peaks import Peaks
from reactorcide.eventstore.proof.redactions import NO_SALT, Redactions
from reactorcide.eventstore.proof.streams import Streams
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import NoteBroken

_LEAF: Final = b"\x00"
_NOTED: Final = 500
_MALFORMED: Final = (
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """What became of a bundle that was verified."""

    log: str
    holds: Holds
    """All events of a log, of a stream (and of redactions in it), or some stretch."""
    events: int
    position: int
    """Of the last event."""
    checkpoints: int
    """Signatures that hold."""
    finding: Finding | None


def verify_bundle(path: Path, trust: Trust) -> VerifiedBundle:
    """Verify a bundle, up to the first thing that is wrong. Raises BundleBroken and OSError."""
    lines = lines_of(path)
    header = header_of(*next(lines, (1, b"")))
    with _Walk(trust, header["holds"]) as walk:
        for number, line in lines:
            try:
                is_over = walk.take(line)
            except _MALFORMED as error:
                msg = f"line {number}: {error}"
                raise BundleBroken(msg) from None
            if is_over:
                break
        else:
            if not walk.has_ended:
                raise BundleBroken("its end is missing")
        finding = walk.end()
    return VerifiedBundle(
        header["log"], header["holds"], walk.events, walk.position, walk.checkpoints, finding
    )


class _Walk:
    """Takes line after line behind the header; see `bundle`."""

    def __init__(self, trust: Trust, holds: Holds) -> None:
        self._trust = trust
        self._holds = holds
        self._peaks = Peaks()
        self._streams = Streams()
        self._redactions = Redactions()
        self._noted: list[RawEvent] = []
        self._has_skipped = False
        self._signed = 0
        self._unsigned_from: int | None = None
        self._found: Finding | None = None
        self.events = 0
        self.position = 0
        self.checkpoints = 0
        self.has_ended = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what was noted."""
        self._streams.__exit__(kind, error, trace)

    def take(self, line: bytes) -> bool:
        """Take a line; say whether something is wrong, so that the walk is over."""
        if self.has_ended:
            raise ValueError("there is more behind its end")
        if line.startswith(b'{"leaf":'):
            self._found = self._event(line)
            return self._found is not None
        found = json.loads(line)
        match found:
            case {"skipped": nodes}:
                self._has_skipped = True
                for height, node in nodes:
                    self._peaks.push(int(height), _hash(node))
            case {"checkpoint": str(note)}:
                self._found = self._checkpoint(note)
            case {"end": int(number)}:
                if number != self.events:
                    msg = f"it should have {number} events and has {self.events}"
                    raise ValueError(msg)
                self.has_ended = True
            case _:
                raise ValueError("it is no line of a bundle")
        return self._found is not None

    def end(self) -> Finding | None:
        """Return the first thing that is wrong with all that was taken."""
        found = self._found
        if found is None and self._signed < self._peaks.size:
            detail = "no signed checkpoint covers the events from here on"
            begin = self._unsigned_from or self.position
            found = Finding(Wrong.BAD_SIGNATURE, begin, detail, until=self.position)
        if found is None and self._holds == "log" and self._has_skipped:
            found = Finding(Wrong.DELETED, 0, "it says that it holds the whole log, and does not")
        if found is None and self._holds == "log":
            found = self._cut()
        return first(found, self._redactions.settle(), self._lawful())

    def _cut(self) -> Finding | None:
        """Say that a copy of a checkpoint was signed for more events than there are."""
        for copy in self._trust.copies:
            try:
                head = self._trust.head(copy.note)
            except NoteBroken:
                continue
            if head.tree_size > self._peaks.size:
                detail = f"a checkpoint in {copy.place} was signed for {head.tree_size} events"
                return Finding(Wrong.TAIL_CUT, self.position + 1, detail)
        return None

    def _note(self) -> None:
        self._streams.note(self._noted)
        self._noted.clear()

    def _lawful(self) -> Finding | None:
        """Follow the streams where they are here from their first event on."""
        self._note()
        return None if self._holds == "range" and self._has_skipped else self._streams.settle()

    def _event(self, line: bytes) -> Finding | None:
        leaf = leaf_of(line)
        event = leaf.event
        finding = self._placed(leaf.number, event)
        if finding is not None:
            return finding
        leaf_hash = sha256(_LEAF + leaf.entry).digest()
        if leaf_hash.hex() != leaf.hash:
            return _wrong(event, Wrong.EDITED, "it is not what was sealed")
        if sha256(leaf.salt + leaf.data).hexdigest() != leaf.envelope["payload_hash"]:
            if leaf.salt != NO_SALT:
                detail = "its data, or their salt, are not what was sealed"
                return _wrong(event, Wrong.EDITED, detail)
            self._redactions.saw(event, leaf.data)
        self._keep(event, leaf_hash)
        return None

    def _placed(self, leaf: int, event: RawEvent) -> Finding | None:
        """Say what is wrong with the place of an event."""
        position = int(event.position)
        if leaf > self._peaks.size:
            detail = f"{leaf - self._peaks.size} events that belong before it are gone"
            return _wrong(event, Wrong.DELETED, detail)
        if leaf < self._peaks.size or position <= self.position:
            return _wrong(event, Wrong.INSERTED, "it was not sealed with its neighbours")
        return None

    def _keep(self, event: RawEvent, leaf: bytes) -> None:
        self._peaks.push(0, leaf)
        self.position = int(event.position)
        if self._unsigned_from is None:
            self._unsigned_from = self.position
        self.events += 1
        self._noted.append(event)
        if len(self._noted) >= _NOTED:
            self._note()
        if event.stream_type == b"redaction":
            self._redactions.note(event)

    def _checkpoint(self, note: str) -> Finding | None:
        begin = self._unsigned_from or self.position
        try:
            head = self._trust.head(note)
        except NoteBroken as error:
            return Finding(
                Wrong.BAD_SIGNATURE, begin, f"a checkpoint is {error}", until=self.position
            )
        if head.tree_size != self._peaks.size or not self._peaks.size:
            detail = f"a checkpoint for {head.tree_size} events follows {self._peaks.size}"
            return Finding(Wrong.TAIL_CUT, self.position + 1, detail)
        if head.root != self._peaks.root():
            detail = f"the events are not those of the checkpoint for {head.tree_size} events"
            return Finding(Wrong.REHASHED, begin, detail, until=self.position)
        self.checkpoints += 1
        self._signed, self._unsigned_from = self._peaks.size, None
        return None


def _hash(text: str) -> bytes:
    node = bytes.fromhex(text)
    if len(node) != HASH_BYTES:
        raise ValueError("a hash has 32 bytes")
    return node


def _wrong(event: RawEvent, kind: Wrong, detail: str) -> Finding:
    return Finding(
        kind, int(event.position), detail, event.stream_type.decode(), event.stream_id.decode()
    )
