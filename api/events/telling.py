"""Recorded events made ready to be told: whose each is, and how it travels. Tells nobody."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from reactorcide.api.jobs.render import render_event
from reactorcide.eventstore.database import Pool
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections.owners import owners_of

_KEPT_OWNERS: Final = 10_000
_OWNED: Final = frozenset({"job", "token"})


class Told:
    """An event that is told to many: its bytes are made once, and only if anybody may see it."""

    __slots__ = ("_frame", "event")

    def __init__(self, event: RecordedEvent) -> None:
        self.event = event
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """Its bytes."""
        if self._frame is None:
            self._frame = frame_of(self.event)
        return self._frame


class Owners:
    """Whose streams are. What was found is kept: an owner never changes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[UUID, UUID] = {}

    async def of(self, events: Sequence[RecordedEvent]) -> dict[UUID, UUID]:
        """Return the owners of the events' streams, as far as they have any."""
        wanted = {event.stream_id for event in events if event.stream_type in _OWNED}
        found = {one: self._known[one] for one in wanted & self._known.keys()}
        if missing := wanted - found.keys():
            asked = await owners_of(self._pool, missing)
            if len(self._known) + len(asked) > _KEPT_OWNERS:
                self._known.clear()
            self._known |= asked
            found |= asked
        return found


def frame_of(event: RecordedEvent) -> bytes:
    """Return a recorded event as a server-sent event; its id is its position."""
    name, data = event.type.encode(), to_json(render_event(event))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.position, name, data)


def heartbeat(position: int) -> bytes:
    """Return a sign of life without an id: all that may be seen up to `position` was told."""
    return b'event: heartbeat\ndata: {"position":%d}\n\n' % position


def dropped(position: int) -> bytes:
    """Return the last event for a reader that was too slow: where to go on."""
    hint = "read too slowly; go on with Last-Event-ID or ?after="
    return b"event: dropped\ndata: %b\n\n" % to_json({"message": hint, "resume_after": position})
