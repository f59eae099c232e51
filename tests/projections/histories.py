"""Random lawful histories of all four kinds, appended in random batches through the real log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.decider import Decider, fold
from reactorcide.eventstore.domain.events import Event, TokenIssued, UserRegistered
from reactorcide.eventstore.domain.job import JOB
from reactorcide.eventstore.domain.token import TOKEN
from reactorcide.eventstore.domain.user import USER
from reactorcide.eventstore.domain.worker import WORKER
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.inline_rows import Rows
from reactorcide.eventstore.record import SYSTEM, Append, StreamType
from reactorcide.eventstore.store import append
from reactorcide.projections import job_rows, tokens, users, workers
from reactorcide.tests.eventstore.domain.job_strategies import job_histories
from reactorcide.tests.eventstore.domain.strategies import (
    token_histories,
    user_histories,
    worker_histories,
)

Batch: TypeAlias = list[tuple[Append, Change[Any]]]

ROWS: Final[Mapping[StreamType, Callable[[Sequence[Change[Any]]], Rows]]] = {
    "job": job_rows.rows,
    "token": tokens.rows,
    "user": users.rows,
    "worker": workers.rows,
}


@dataclass
class Stream:
    """A history under way: what is recorded of it, and what is still to come."""

    decider: Decider[Any, Any, Any]
    stream_id: UUID
    events: tuple[Event, ...]
    recorded: int = 0

    def next(self, number: int) -> tuple[Append, Change[Any]]:
        """Record so many more events."""
        unit = self.unit(self.recorded, number)
        self.recorded += len(unit[1].events)
        return unit

    def unit(self, after: int, number: int) -> tuple[Append, Change[Any]]:
        """Return the append of `number` events after the first `after`."""
        events = self.events[after : after + number]
        state = fold(self.decider, self.events[: after + len(events)])
        encoded = tuple(encode(new_id(), event) for event in events)
        recorded = Append(self.decider.stream_type, self.stream_id, after, encoded, SYSTEM)
        return recorded, Change(self.stream_id, after + len(events), state, events)


def _streams(
    decider: Decider[Any, Any, Any], histories: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Stream]]:
    made = histories.map(lambda history: Stream(decider, new_id(), _unique(history.events)))
    return st.lists(made.filter(lambda stream: bool(stream.events)), min_size=1, max_size=4)


def _unique(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Give what must be unique in a table a value that nobody else has."""
    match events:
        case (UserRegistered() as first, *rest):
            return (first.model_copy(update={"username": str(new_id())}), *rest)
        case (TokenIssued() as first, *rest):
            return (first.model_copy(update={"token_hash": new_id().hex * 2}), *rest)
        case _:
            return events


some_streams: Final[Mapping[StreamType, st.SearchStrategy[list[Stream]]]] = {
    "job": _streams(JOB, job_histories()),
    "token": _streams(TOKEN, token_histories()),
    "user": _streams(USER, user_histories()),
    "worker": _streams(WORKER, worker_histories()),
}


async def record(connection: Connection, streams: Sequence[Stream], chance: Random) -> None:
    """Record whole histories in random batches, among them stale appends that conflict."""
    for batch in batches(streams, chance):
        await record_batch(connection, batch)


async def record_batch(connection: Connection, batch: Batch) -> None:
    """Record one batch, with its rows."""
    rows = ROWS[batch[0][0].stream_type]([change for _, change in batch])
    await append(connection, [one for one, _ in batch], rows)


def batches(streams: Sequence[Stream], chance: Random) -> Iterator[Batch]:
    """Yield all that is to be recorded of some streams."""
    while under_way := [one for one in streams if one.recorded < len(one.events)]:
        chosen = chance.sample(under_way, chance.randint(1, len(under_way)))
        batch = [stream.next(chance.randint(1, 4)) for stream in chosen]
        stale = [one for one in streams if one.recorded and one not in chosen]
        batch += [one.unit(one.recorded - 1, 1) for one in stale if chance.random() < 0.3]
        yield batch
