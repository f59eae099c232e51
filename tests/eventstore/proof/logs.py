"""Sealed logs in memory: lawful histories of all kinds, interleaved, sealed and signed."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Final
from uuid import UUID

from reactorcide.eventstore.codec import written
from reactorcide.eventstore.domain.events import (
    Event,
    TokenRevoked,
    TokenRotated,
    UserDeactivated,
    UserRolesChanged,
    WorkerDrained,
    WorkerStopped,
)
from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import TILE_WIDTH, TileId, Tree
from reactorcide.eventstore.proof.findings import Finding
from reactorcide.eventstore.proof.rows import Copy, Page, SealedTile, SignedCheckpoint
from reactorcide.eventstore.proof.tiles import sealed_at
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.proof.verification import Expected, Verification, moved
from reactorcide.eventstore.signed_note import Signer, TreeHead
from reactorcide.tests.eventstore.domain.samples import (
    ISSUED,
    LATER,
    REGISTERED,
    WAY_TO,
    WORKER_REGISTERED,
)

ORIGIN: Final = "reactorcide/018f0000-0000-7000-8000-000000000001"
SIGNER: Final = Signer(ORIGIN, bytes(range(32)))
STRANGER: Final = Signer(ORIGIN, bytes(range(1, 33)))
"""Another key, under the same name."""
TRUST: Final = Trust((SIGNER.verifier,))

_TOKEN: Final[tuple[Event, ...]] = (
    ISSUED,
    TokenRotated(successor_id=UUID(int=9), valid_until=LATER),
    TokenRevoked(),
)
_USER: Final[tuple[Event, ...]] = (
    REGISTERED,
    UserRolesChanged(roles=("admin",)),
    UserRolesChanged(roles=("user",)),
    UserDeactivated(),
)
_WORKER: Final[tuple[Event, ...]] = (
    WORKER_REGISTERED,
    WorkerDrained(),
    WorkerStopped(reason="SIGTERM"),
)
_PAGE_TILES: Final = 2


@dataclass
class Log:
    """A log as it stands in the tables."""

    events: list[RawEvent]
    tiles: list[SealedTile] = field(default_factory=list)
    tree_tiles: dict[TileId, bytes] = field(default_factory=dict)
    checkpoints: list[SignedCheckpoint] = field(default_factory=list)

    def copy(self) -> "Log":
        """Return a copy that can be changed."""
        return Log([*self.events], [*self.tiles], {**self.tree_tiles}, [*self.checkpoints])

    @property
    def last_position(self) -> int:
        """Of all its events."""
        return int(self.events[-1].position) if self.events else 0

    @property
    def copies(self) -> tuple[Copy, ...]:
        """Its checkpoints, as somebody keeps them."""
        return tuple(Copy(one.note, "the safe") for one in self.checkpoints)

    def pages(self) -> Iterator[Page]:
        """Yield it as it is read."""
        after, size, at = 0, 0, 0
        for begin in range(0, len(self.tiles), _PAGE_TILES):
            tiles = self.tiles[begin : begin + _PAGE_TILES]
            size += sum(tile.width for tile in tiles)
            last = tiles[-1].last_position
            begin_at = at
            while at < len(self.events) and int(self.events[at].position) <= last:
                at += 1
            events = self.events[begin_at:at]
            is_last = begin + _PAGE_TILES >= len(self.tiles)
            signed = [one for one in self.checkpoints if one.tree_size > after]
            signed = [one for one in signed if is_last or one.tree_size <= size]
            yield Page(tiles, events, signed)
            after = size


def verified(log: Log, trust: Trust = TRUST) -> Finding | None:
    """Verify a log as the command does; return what is wrong with it."""
    with Verification(trust, Expected(log.last_position, log.tree_tiles)) as walk:
        for page in log.pages():
            if walk.page(page) is not None:
                break
        else:
            walk.rest([one for one in log.events if int(one.position) > walk.last_position])
        found = walk.end()
        if found is not None and walk.suspect is not None:
            places = (sealed_at(walk.suspect, tile) for tile in log.tiles)
            place = next((place for place in places if place), None)
            if place and int(walk.suspect.position) == found.position:
                return moved(found, place)
        return found


def seal(
    events: Sequence[RawEvent],
    sizes: Iterable[int],
    signer: Signer = SIGNER,
    salt: Random | None = None,
) -> Log:
    """Seal events, sign a checkpoint at each of these sizes; what is behind is not sealed."""
    chance = salt or Random(1)  # noqa: S311  a test's salts are no secret
    tree, log = Tree(), Log([*events])
    ends = sorted(set(sizes))
    salts = [chance.randbytes(16) for _ in range(ends[-1] if ends else 0)]
    leaves = [event.leaf(one) for event, one in zip(events, salts, strict=False)]
    for begin, end in pairwise([0, *ends]):
        stored = tree.append(b"".join(leaf.leaf_hash for leaf in leaves[begin:end]))
        log.tree_tiles |= {tile: hashes for tile, hashes in stored.items() if tile.level}
        note = signer.sign(TreeHead(ORIGIN, end, tree.root()).text)
        log.checkpoints.append(
            SignedCheckpoint(end, tree.root(), int(events[end - 1].position), note)
        )
    for begin in range(0, len(leaves), TILE_WIDTH):
        some = leaves[begin : begin + TILE_WIDTH]
        log.tiles.append(
            SealedTile(
                begin // TILE_WIDTH,
                some[0].position,
                some[-1].position,
                len(some),
                [leaf.position for leaf in some],
                b"".join(salts[begin : begin + TILE_WIDTH]),
                b"".join(leaf.payload_hash for leaf in some),
                b"".join(leaf.leaf_hash for leaf in some),
            )
        )
    return log


def some_events(number: int, chance: Random) -> list[RawEvent]:
    """Return so many events of lawful histories, interleaved, with gaps between positions."""
    under_way: list[tuple[str, UUID, Iterator[tuple[int, Event]]]] = []
    made: list[RawEvent] = []
    position = 0
    while len(made) < number:
        if len(under_way) < 30:
            under_way.append(_a_stream(chance))
        stream_type, stream_id, history = one = chance.choice(under_way)
        following = next(history, None)
        if following is None:
            under_way.remove(one)
            continue
        position += 1 + (chance.random() < 0.1)
        version, event = following
        made.append(a_row(position, stream_type, stream_id, version, event, chance))
    return made


def _a_stream(chance: Random) -> tuple[str, UUID, Iterator[tuple[int, Event]]]:
    ways: list[tuple[str, tuple[Event, ...]]] = [("job", way) for way in WAY_TO.values() if way]
    ways += [("token", _TOKEN), ("user", _USER), ("worker", _WORKER)]
    stream_type, history = chance.choice(ways)
    return stream_type, uuid.UUID(int=chance.getrandbits(128)), iter(enumerate(history, 1))


def a_row(  # noqa: PLR0913, PLR0917  what an event is
    position: int, stream_type: str, stream_id: UUID, version: int, event: Event, chance: Random
) -> RawEvent:
    """Return an event as the log's table has it."""
    wire_type, schema_version, data = written(event)

    def some_id() -> bytes:
        return str(uuid.UUID(int=chance.getrandbits(128))).encode()

    is_asked_for = chance.random() < 0.5
    second, micro = divmod(position * 1_234_567, 1_000_000)
    return RawEvent(
        actor_id=some_id() if is_asked_for else rb"\N",
        actor_type=b"user" if is_asked_for else b"system",
        causation_id=some_id() if chance.random() < 0.3 else rb"\N",
        correlation_id=some_id() if is_asked_for else rb"\N",
        event_id=some_id(),
        ip=b"203.0.113.7" if is_asked_for else rb"\N",
        position=str(position).encode(),
        recorded_at=f'"2026-01-{1 + second // 86400:02}T{second // 3600 % 24:02}:'
        f'{second // 60 % 60:02}:{second % 60:02}.{micro:06}"'.encode(),
        request_id=chance.randbytes(4).hex().encode() if is_asked_for else rb"\N",
        schema_version=str(schema_version).encode(),
        stream_id=str(stream_id).encode(),
        stream_type=stream_type.encode(),
        token_id=some_id() if is_asked_for else rb"\N",
        type=wire_type.encode(),
        user_agent=b"reactorcide/1 (x)" if is_asked_for else rb"\N",
        version=str(version).encode(),
        data=data.replace("\\", "\\\\").encode(),
    )


def resigned(log: Log, signer: Signer) -> Log:
    """Return it with its checkpoints signed by another key."""
    return replace(
        log,
        checkpoints=[
            one._replace(note=signer.sign(TreeHead(ORIGIN, one.tree_size, one.root).text))
            for one in log.checkpoints
        ],
    )
