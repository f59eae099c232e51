"""Erases what an archived event tells: another object takes the place of the one that it is in.

    1  note the new object's key, so that it goes by itself if nothing comes of it
    2  in one transaction: read the object, hold it against its digest, write one without the
       event's data and salt, read that back; record `event.redacted`, which names the new object;
       take the salt from the tree; point at the new object, and note the old one
    3  delete the old object

Whatever kills it, one whole object is pointed at, and the other one goes: at once, or by upkeep
after an hour. Whether an event may be redacted, and what is left of it, the caller decides.
"""

import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from reactorcide.eventstore.archived import event_of, events_of, is_redacted, redacted_line
from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import archives, sealed_log, unfinished_objects
from reactorcide.projections.archives import Block


class NewObject(NamedTuple):
    """The object that takes the place of one."""

    object_id: UUID
    """Which stays."""
    object_key: str
    sha256: str
    """In hexadecimal."""
    growth: int
    """By how many bytes it is longer than the old one."""

    def named(self) -> dict[str, UUID | str]:
        """Return it as `event.redacted` names it."""
        return {
            "object_id": self.object_id,
            "object_key": self.object_key,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """An archived event, with all that is around it."""

    block: Block
    content: bytes
    """Of the object."""
    lines: tuple[bytes, ...]
    """Of the block."""
    nth: int
    """Which line is the event's."""
    history: tuple[RecordedEvent, ...]
    """Its whole stream."""

    @property
    def event(self) -> RecordedEvent:
        """The event."""
        return event_of(self.lines[self.nth])

    @property
    def is_redacted(self) -> bool:
        """Whether that was done already."""
        return is_redacted(self.lines[self.nth])


async def find(connection: Connection, objects: ObjectStore, position: int) -> Found | None:
    """Return the archived event at a position; None when there is none.

    Raises ObjectStoreError, also for an object that is not what was archived.
    """
    for block in await archives.around(connection, position):
        content = await objects.read(block.object_key)
        if sha256(content).digest() != block.sha256:
            msg = f"{block.object_key} is not what was archived: see reactorcide archive --verify"
            raise StoreUnavailable(msg)
        whole = gzip.decompress(content[block.start : block.end])
        lines = tuple(whole.splitlines(keepends=True))
        for nth, line in enumerate(lines):
            event = event_of(line)
            if event.position == position:
                history = events_of(whole, event.stream_id)
                return Found(block, content, lines, nth, tuple(history))
    return None


async def noted_key(pool: Pool) -> str:
    """Return a new key and note it: what lies there goes by itself, unless it is pointed at."""
    origin = await sealed_log.origin(pool)
    key = archives.key_of(origin, object_id := new_id())
    await unfinished_objects.note_archive(pool, key, object_id)
    return key


async def write(objects: ObjectStore, found: Found, key: str, remains: str) -> NewObject:
    """Put the object in which only `remains` (JSON text) is left of the event's data."""
    lines = list(found.lines)
    lines[found.nth] = redacted_line(lines[found.nth], remains)
    block, old = found.block, found.content
    member = gzip.compress(b"".join(lines), mtime=0)
    content = old[: block.start] + member + old[block.end :]
    digest = sha256(content)
    await objects.put(key, _pieces(content))
    await objects.sync([key])
    if sha256(await objects.read(key)).digest() != digest.digest():
        msg = f"the object store {objects.url} did not keep what was put"
        raise StoreUnavailable(msg)
    return NewObject(block.object_id, key, digest.hexdigest(), len(content) - len(old))


async def point_at(connection: Connection, found: Found, made: NewObject) -> None:
    """Let the new object hold the streams, in the transaction that recorded `event.redacted`."""
    growth = made.growth
    old = await archives.replace(connection, found.block, found.event.event_id, growth)
    await unfinished_objects.forget_prefixes(connection, [made.object_key])
    await unfinished_objects.note_archive(connection, old, made.object_id)


async def delete_old(pool: Pool, objects: ObjectStore, found: Found) -> None:
    """Delete the object that nobody points at any more."""
    await objects.delete_all(found.block.object_key)
    await unfinished_objects.forget_prefixes(pool, [found.block.object_key])


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
