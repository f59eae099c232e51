"""What a request led to: its own events, and below each of them what followed from it.

An event follows from the one that its `causation_id` names. One without a cause and without a
request of its own, as a worker records it, follows from what stands before it in its stream. What
another request did is that one's. Table `audit_events` says which events those are, and the log
what they say. Reads only, and no more than it is allowed to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Connection, Pool
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

_PLANNED_FOR_ITS_VALUES: Final = "SET LOCAL plan_cache_mode = force_custom_plan"


class Node(NamedTuple):
    """An event in the tree."""

    event: RecordedEvent
    caused_by: UUID | None
    """The id of the event above it; None at the root."""
    depth: int


class Tree(NamedTuple):
    """Part of what a request led to: some of its first events, each with all below it."""

    nodes: tuple[Node, ...]
    """Each right behind what it follows from, and what follows from that before it."""
    next_after: int | None
    """The position that the next part begins behind; None after the last one."""
    is_cut: bool
    """There is more below these than was allowed to be read."""


async def tree_of(pool: Pool, request_id: str, after: int, roots: int, most: int) -> Tree:
    """Return what followed from the request's first `roots` beginnings behind a position.

    A beginning is an event of the request that does not follow from another one of it in the same
    stream. All of it is of one moment. `most` bounds the events that are read.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(_PLANNED_FOR_ITS_VALUES)
        begun = _recorded(await connection.fetch(SQL["begun"], request_id, after, roots + 1))
        walk = _Walk(most)
        walk.add(begun[:roots])
        found = begun[:roots]
        while found and walk.room > 0:
            found = walk.add(await _followed(connection, found, walk.room))
        next_after = begun[roots - 1].position if len(begun) > roots else None
        return Tree(tuple(walk.nodes()), next_after, is_cut=walk.room <= 0)


async def _followed(
    connection: Connection, events: Sequence[RecordedEvent], room: int
) -> list[RecordedEvent]:
    """Return what follows from these in their streams, and what names one of them as its cause."""
    later = await connection.fetch(
        SQL["later"],
        [event.stream_id for event in events],
        [event.version for event in events],
        [event.request_id for event in events],
        [event.causation_id for event in events],
        room,
    )
    caused = await connection.fetch(SQL["caused"], [event.event_id for event in events], room)
    return _recorded([*later, *caused])


@dataclass(slots=True)
class _Walk:
    """The events that were met, and which follows from which."""

    most: int
    _met: dict[UUID, RecordedEvent] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many more may be met."""
        return self.most - len(self._met)

    def add(self, events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
        """Take in events; return those that are new."""
        new = {one.event_id: one for one in events if one.event_id not in self._met}
        taken = sorted(new.values())[: max(self.room, 0)]  # by their positions
        self._met |= {one.event_id: one for one in taken}
        return taken

    def nodes(self) -> list[Node]:
        """Return the tree, each event right behind what it follows from."""
        below: dict[UUID | None, list[RecordedEvent]] = {}
        latest: dict[UUID, RecordedEvent] = {}
        for event in sorted(self._met.values()):
            below.setdefault(self._above(event, latest.get(event.stream_id)), []).append(event)
            latest[event.stream_id] = event
        waiting = [Node(event, None, 0) for event in reversed(below.get(None, []))]
        nodes: list[Node] = []
        while waiting:
            node = waiting.pop()
            nodes.append(node)
            event_id = node.event.event_id
            waiting += [
                Node(event, event_id, node.depth + 1) for event in reversed(below.get(event_id, []))
            ]
        return nodes

    def _above(self, event: RecordedEvent, before: RecordedEvent | None) -> UUID | None:
        """Return what an event follows from, as far as it was met; `before` is of its stream."""
        cause = event.causation_id
        # What is recorded together has one cause: then it follows from what stands before it.
        if cause in self._met and (before is None or before.causation_id != cause):
            return cause
        return before.event_id if before else None


def _recorded(rows: Iterable[asyncpg.Record]) -> list[RecordedEvent]:
    return [RecordedEvent._make(row) for row in rows]
