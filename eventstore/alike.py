"""Commands that come to the same for many streams: decided once, and appended as columns.

A worker tells hundreds of jobs at a time that it takes them, or that they are done. An object
for each step of each job would cost more than PostgreSQL's part; here there is one for all of
them. It knows no particular rule and no table.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.events import Event
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.ids import NO_ID, new_beginning
from reactorcide.eventstore.record import AppendToMany, Context, Then

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E", bound=Event)

_MOST_EVENTS: Final = 2


class Repeats(NamedTuple, Generic[S]):
    """How the rules of a stream repeat themselves."""

    alike: Callable[[S], Hashable]
    """What a decision looks at: streams for which this is equal are decided alike."""
    likewise: Callable[[S, S], S]
    """From a state, and what an alike one became, to what it becomes."""


class Alike(NamedTuple, Generic[S]):
    """What a command comes to for many streams. The lists are as long as those of `append`."""

    events: tuple[Event, ...]
    """One, or two."""
    append: AppendToMany
    befores: list[S]
    """How the streams stood."""
    models: list[S]
    """How one that stood alike stands afterwards."""

    @property
    def event(self) -> Event:
        """The first one."""
        return self.events[0]

    def changes(self, likewise: Callable[[S, S], S]) -> list[Change[S]]:
        """Return what a projection is told of each stream by itself."""
        return [
            Change(stream_id, self.append.last_version, likewise(before, model), self.events)
            for stream_id, before, model in zip(
                self.append.stream_ids, self.befores, self.models, strict=True
            )
        ]


def decided_alike(
    decider: Decider[S, C, E],
    repeats: Repeats[S],
    streams: Iterable[tuple[UUID, S, int]],
    command: C,
    context: Context,
) -> list[Alike[S]]:
    """Decide one command for many streams (id, state, version); a result for each event.

    And for each version: what is written of streams at one version costs less. The rules are
    asked once for all streams that are alike: they are pure. What they refuse, what is already
    so, and what is decided with more than two events is left out. The streams stay in their order.
    """
    known: dict[Hashable, tuple[Alike[S], S] | None] = {}
    found: dict[Hashable, Alike[S]] = {}
    stream_ids: list[UUID] | None = None
    befores: list[S] = []
    afters: list[S] = []
    last, last_version, after = None, 0, decider.initial
    for stream_id, state, version in streams:
        if state is not last or version != last_version:  # many may stand by one model
            last, last_version, key = state, version, (repeats.alike(state), version)
            if key not in known:
                known[key] = _decision(decider, state, version + 1, command, context, found)
            stream_ids = None
            if (decision := known[key]) is not None:
                (_, append, befores, afters), after = decision
                stream_ids = append.stream_ids
        if stream_ids is not None:
            stream_ids.append(stream_id)
            befores.append(state)
            afters.append(after)
    return list(found.values())


def _decision(  # noqa: PLR0913, PLR0917  a stream's situation, the command, and what is known
    decider: Decider[S, C, E],
    state: S,
    version: int,
    command: C,
    context: Context,
    found: dict[Hashable, Alike[S]],
) -> tuple[Alike[S], S] | None:
    """Ask the rules: return what becomes of all who stand so, and the state after that."""
    try:
        events = decider.decide(state, command)
    except CommandRejected:
        return None
    if not 1 <= len(events) <= _MOST_EVENTS:
        return None
    said = tuple(encode(NO_ID, event)[1:] for event in events)
    alike = found.get((said, version))
    if alike is None:
        then = Then(*said[1]) if len(said) > 1 else None
        about = decider.stream_type, *said[0], context, version, new_beginning()
        alike = found[said, version] = Alike(events, AppendToMany(*about, [], then), [], [])
    for event in events:
        state = decider.evolve(state, event)
    return alike, state
