"""Verifies what lies in the archive: objects against the log's facts, lines against the tree.

Each object is the one that `streams.archived` names, or a later `event.redacted`, to the byte; each
line is what was sealed at its leaf, and has the data that were hashed there; each stream is whole.
It changes nothing.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg

from reactorcide.eventstore.archived import NotAsSealed, check_line
from reactorcide.eventstore.database import Connection, Database, database_errors
from reactorcide.eventstore.objects import ObjectMissing, ObjectStore
from reactorcide.projections import archives, sealed_log
from reactorcide.projections.archives import ArchivedObject
from reactorcide.projections.replay import Progress

# What the log says, which is sealed; the tables only say where to look.
_FACTS: Final = """
SELECT a.stream_id, coalesce(r.object_key, a.data ->> 'object_key'),
    coalesce(r.sha256, a.data ->> 'sha256'), (a.data ->> 'streams')::int,
    (a.data ->> 'events')::int
FROM events AS a LEFT JOIN ( -- each redaction of an archived event made another object
    SELECT DISTINCT ON (data ->> 'object_id') data ->> 'object_id' AS object_id,
        data ->> 'object_key' AS object_key, data ->> 'sha256' AS sha256
    FROM events WHERE type = 'event.redacted' AND data ? 'object_id'
    ORDER BY data ->> 'object_id', position DESC
) AS r ON r.object_id = a.stream_id::text
WHERE a.type = 'streams.archived' ORDER BY a.position"""


class ArchiveBroken(Exception):  # noqa: N818  named by what is so, like the rejections
    """An object is not what was archived; `object_key` is whose."""

    def __init__(self, object_key: str, detail: str) -> None:
        super().__init__(f"{object_key}: {detail}")
        self.object_key = object_key


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found to be as it was archived."""

    objects: int
    events: int


async def check(database: Database, objects: ObjectStore, progress: Progress) -> Checked:
    """Verify all objects. Raises ArchiveBroken, ObjectStoreError and DatabaseError."""
    events = 0
    with database_errors():
        connection = await database.connect(timezone="UTC")
        try:
            await archives.hold(connection)
            facts = await connection.fetch(_FACTS)
            for nth, fact in enumerate(facts):
                progress(nth, len(facts))
                events += await _check_object(connection, objects, fact)
        finally:
            await connection.close()
    return Checked(len(facts), events)


async def _check_object(connection: Connection, objects: ObjectStore, fact: asyncpg.Record) -> int:
    """Verify one object; return how many events it holds."""
    object_id, key, digest, streams, events = fact
    try:
        content = await objects.read(key)
    except ObjectMissing as error:
        raise ArchiveBroken(key, str(error)) from error
    if sha256(content).hexdigest() != digest:
        raise ArchiveBroken(key, "its SHA-256 is not the one that the log has")
    made = await archives.find(connection, object_id)
    if made is None or (made.object_key, len(made.streams), made.events) != (key, streams, events):
        raise ArchiveBroken(key, "table archived_streams has not what the log says of it")
    for block, inside in _blocks(made, content):
        versions = await _versions(connection, key, gzip.decompress(block).splitlines())
        for stream_id, count in inside.items():
            if versions.pop(str(stream_id), []) != [*range(1, count + 1)]:
                raise ArchiveBroken(key, f"stream {stream_id} is not whole")
        if versions:
            raise ArchiveBroken(key, f"nobody knows that it holds {', '.join(versions)}")
    return made.events


def _blocks(made: ArchivedObject, content: bytes) -> Iterator[tuple[bytes, dict[UUID, int]]]:
    """Yield the gzip members, each with the streams that it should hold, and their lengths."""
    inside: dict[tuple[int, int], dict[UUID, int]] = {}
    for one in made.streams:
        inside.setdefault((one.block_start, one.block_end), {})[one.stream_id] = one.events
    for (start, end), streams in inside.items():
        yield content[start:end], streams


async def _versions(
    connection: Connection, key: str, lines: Sequence[bytes]
) -> dict[str, list[int]]:
    """Hold lines against their seals; return the versions that each stream has among them."""
    told: list[Mapping[str, Any]] = [json.loads(line) for line in lines]
    seals = await sealed_log.seals_of(connection, [one["position"] for one in told])
    found: dict[str, list[int]] = {}
    for one in told:
        if one["position"] not in seals:
            raise ArchiveBroken(key, f"nothing was sealed at position {one['position']}")
        try:
            check_line(one, seals[one["position"]])
        except NotAsSealed as error:
            raise ArchiveBroken(key, str(error)) from error
        found.setdefault(one["stream_id"], []).append(one["version"])
    return found
