"""The format of bundles: events in a file, with all that proves them.

A bundle is gzip over lines of JSON:

    {"bundle": "reactorcide log", "format": 1, "log": …, "holds": "log" | "stream" | "range"}
    {"skipped": [[height, hash], …]}    whole subtrees of leaves that are not in the bundle
    {"leaf": n, "salt": …, "hash": …, "event": {…}, "data": {…}}
    {"checkpoint": note}                signed over all leaves up to here
    {"end": number of events}

`event` and `data` are canonical JSON (RFC 8785): the leaf's hash is SHA-256(0x00 event) (RFC
6962), and `payload_hash` in the event is SHA-256(salt data). Hashes are hex. Lines are read one
by one, so a bundle of any length takes the same memory. Whether it proves anything is not known
here.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pydantic_core import from_json

from reactorcide.eventstore.leaves import RawEvent

Holds: TypeAlias = Literal["log", "stream", "range"]

NAME: Final = "reactorcide log"
FORMAT: Final = 1
_LONGEST_LINE: Final = 64 * 1024 * 1024
_EVENT: Final = b',"event":'
_DATA: Final = b'},"data":'
_HEAD: Final = re.compile(rb'\{"leaf":(\d+),"salt":"([0-9a-f]{32})","hash":"([0-9a-f]{64})"')


class BundleBroken(Exception):  # noqa: N818  named by what is so, like the rejections
    """It is no bundle, not a whole one, or of another format."""


def read_header(path: Path) -> dict[str, Any]:
    """Return the first line of a bundle. Raises BundleBroken and OSError."""
    for number, line in lines_of(path):
        return header_of(number, line)
    raise BundleBroken("it is empty")


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, from 1. Raises BundleBroken and OSError."""
    try:
        with gzip.open(path, "rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        msg = f"it can't be unpacked: {error}"
        raise BundleBroken(msg) from None


def header_of(number: int, line: bytes) -> dict[str, Any]:
    """Return what the first line says. Raises BundleBroken."""
    header: dict[str, Any] = {}
    with suppress(ValueError, TypeError):
        header = dict(json.loads(line))
    is_ours = (header.get("bundle"), header.get("format")) == (NAME, FORMAT)
    if not is_ours or header.get("holds") not in {"log", "stream", "range"}:
        msg = f"line {number}: it does not begin as a bundle of this format"
        raise BundleBroken(msg)
    return {**header, "log": str(header.get("log"))}


class BundledLeaf(NamedTuple):
    """A line about an event, taken apart: nothing of it is verified."""

    number: int
    salt: bytes
    hash: str
    """In hex."""
    entry: bytes
    """The event's canonical JSON, of which the hash is."""
    data: bytes
    envelope: dict[str, Any]
    """The same event, parsed."""
    event: RawEvent


def leaf_of(line: bytes) -> BundledLeaf:
    """Take a line about an event apart. Raises ValueError, KeyError, TypeError, AttributeError."""
    head, _, rest = line.partition(_EVENT)
    entry, _, data = rest.partition(_DATA)
    entry, data = entry + b"}", data.rstrip()[:-1]
    says = _HEAD.fullmatch(head)
    if says is None:
        raise ValueError("it has no leaf, salt and hash")
    number, salt, leaf_hash = (text.decode() for text in says.groups())
    envelope = from_json(entry)
    event = _as_row(envelope, data)
    return BundledLeaf(int(number), bytes.fromhex(salt), leaf_hash, entry, data, envelope, event)


def _as_row(envelope: dict[str, Any], data: bytes) -> RawEvent:
    """Return as much of an event as is looked at, as a row of the log's table has it."""
    return RawEvent(
        actor_id=b"",
        actor_type=b"",
        causation_id=b"",
        correlation_id=b"",
        event_id=envelope["event_id"].encode(),
        ip=b"",
        position=b"%d" % envelope["position"],
        recorded_at=b"",
        request_id=b"",
        schema_version=b"",
        stream_id=envelope["stream_id"].encode(),
        stream_type=envelope["stream_type"].encode(),
        token_id=b"",
        type=envelope["type"].encode(),
        user_agent=b"",
        version=b"%d" % envelope["version"],
        data=data.replace(b"\\", rb"\\"),
    )
