"""Ways to tamper with a sealed log, each with what must be found: seeded, and without end.

A tampering changes a copy and says which positions the first wrong one is among, and what kinds
it may be told as. The tampering hand can write everywhere but has no key; what it can't reach is
a copy of the checkpoints, which `trust` carries where that is what gives it away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, TypeAlias
from uuid import UUID

from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import TILE_WIDTH
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.tests.eventstore.proof.logs import STRANGER, TRUST, Log, resigned, seal


@dataclass(frozen=True, slots=True)
class Tampered:
    """A log that somebody changed, and what a verifier must say of it."""

    log: Log
    first: int
    """The position that must be named; the lowest, where it can't be known exactly."""
    last: int
    """The same, or the highest that may be named."""
    kinds: frozenset[Wrong]
    trust: Trust = TRUST


Tampering: TypeAlias = Callable[[Log, Random], Tampered]

_VALUES: Final = {
    "actor_id": str(UUID(int=7)).encode(),
    "actor_type": b"worker",
    "causation_id": str(UUID(int=8)).encode(),
    "correlation_id": str(UUID(int=9)).encode(),
    "event_id": str(UUID(int=10)).encode(),
    "ip": b"198.51.100.9",
    "recorded_at": b'"2020-02-02T02:02:02.020202"',
    "request_id": b"another",
    "schema_version": b"2",
    "stream_id": str(UUID(int=11)).encode(),
    "stream_type": b"schedule",
    "token_id": str(UUID(int=12)).encode(),
    "type": b"job.forgotten",
    "user_agent": b"somebody else",
    "version": b"99",
    "data": b'{"attempt": 77}',
}


def _sealed(log: Log) -> int:
    return sum(tile.width for tile in log.tiles)


def _at(log: Log, index: int) -> int:
    return int(log.events[index].position)


def _exactly(log: Log, position: int, *kinds: Wrong, trust: Trust = TRUST) -> Tampered:
    return Tampered(log, position, position, frozenset(kinds), trust)


def edit_a_column(log: Log, chance: Random) -> Tampered:
    """Put another value into one column of one event; NULL where the column may be."""
    index = chance.randrange(_sealed(log))
    column = chance.choice(sorted(_VALUES))
    value = _VALUES[column]
    if getattr(log.events[index], column) == value:
        value = b'{"attempt": 78}' if column == "data" else rb"\N"
    position = _at(log, index)
    log.events[index] = log.events[index]._replace(**{column: value})
    return _exactly(log, position, Wrong.EDITED)


def edit_a_character(log: Log, chance: Random) -> Tampered:
    """Change one digit somewhere in the data of an event."""
    while True:
        index = chance.randrange(_sealed(log))
        data = log.events[index].data
        digits = [at for at, byte in enumerate(data) if chr(byte).isdigit()]
        if digits:
            break
    at = chance.choice(digits)
    other = b"%d" % ((data[at] - 48 + chance.randrange(1, 9)) % 10)
    changed = data[:at] + other + data[at + 1 :]
    log.events[index] = log.events[index]._replace(data=changed)
    return _exactly(log, _at(log, index), Wrong.EDITED)


def delete_some(log: Log, chance: Random) -> Tampered:
    """Delete an event, or a few that follow each other, before the last sealed one."""
    index = chance.randrange(_sealed(log) - 1)
    number = min(chance.choice((1, 1, 2, 5)), _sealed(log) - 1 - index)
    position = _at(log, index)
    del log.events[index : index + number]
    return _exactly(log, position, Wrong.DELETED)


def swap_two(log: Log, chance: Random) -> Tampered:
    """Let two events change places."""
    one, other = sorted(chance.sample(range(_sealed(log)), 2))
    first, second = log.events[one], log.events[other]
    log.events[one] = second._replace(position=first.position)
    log.events[other] = first._replace(position=second.position)
    return _exactly(log, int(first.position), Wrong.SWAPPED)


def swap_data(log: Log, chance: Random) -> Tampered:
    """Let two events change their data."""
    while True:
        one, other = sorted(chance.sample(range(_sealed(log)), 2))
        first, second = log.events[one], log.events[other]
        if first.data != second.data:
            break
    log.events[one] = first._replace(data=second.data)
    log.events[other] = second._replace(data=first.data)
    return _exactly(log, int(first.position), Wrong.EDITED)


def insert_one(log: Log, chance: Random) -> Tampered:
    """Insert an event where a position was never used, or once more where it was."""
    positions = [int(event.position) for event in log.events[: _sealed(log)]]
    index = chance.randrange(_sealed(log))
    gaps = [at for at in range(1, len(positions)) if positions[at] > positions[at - 1] + 1]
    if gaps and chance.random() < 0.8:
        at = chance.choice(gaps)
        position = positions[at] - 1
    else:
        at, position = index + 1, positions[index]
    new = log.events[index]._replace(
        position=b"%d" % position, event_id=str(UUID(int=chance.getrandbits(128))).encode()
    )
    log.events.insert(at, new)
    # A position that is there twice: either of the two may come first.
    if position in positions:
        log.events[at - 1 : at + 1] = chance.sample(log.events[at - 1 : at + 1], 2)
    return _exactly(log, position, Wrong.INSERTED, Wrong.EDITED)


def cut_the_tail(log: Log, chance: Random) -> Tampered:
    """Delete all events from one on, and leave what was sealed."""
    index = chance.randrange(_sealed(log))
    position = _at(log, index)
    del log.events[index:]
    return _exactly(log, position, Wrong.TAIL_CUT)


def cut_the_tail_and_what_was_sealed(log: Log, chance: Random) -> Tampered:
    """Go back to an earlier state in everything but what was signed."""
    size = chance.choice([one.tree_size for one in log.checkpoints[:-1]])
    earlier = seal(
        log.events[:size], [one.tree_size for one in log.checkpoints[: _upto(log, size)]]
    )
    back = replace(log, events=log.events[:size], tiles=earlier.tiles)
    back = replace(_salted(back, log, size), tree_tiles=earlier.tree_tiles)
    return _exactly(back, _at(log, size - 1) + 1, Wrong.TAIL_CUT)


def go_back_in_everything(log: Log, chance: Random) -> Tampered:
    """Go back to an earlier state, signed checkpoints included; copies of them are elsewhere."""
    tampered = cut_the_tail_and_what_was_sealed(log, chance)
    trust = replace(TRUST, copies=log.copies)
    size = sum(tile.width for tile in tampered.log.tiles)
    tampered.log.checkpoints[:] = log.checkpoints[: _upto(log, size)]
    return replace(tampered, trust=trust)


def _upto(log: Log, size: int) -> int:
    return sum(one.tree_size <= size for one in log.checkpoints)


def _salted(back: Log, log: Log, size: int) -> Log:
    """Return the tiles of an earlier state as they were: the salts are the same."""
    tiles = []
    for begin in range(0, size, TILE_WIDTH):
        tile = log.tiles[begin // TILE_WIDTH]
        width = min(TILE_WIDTH, size - begin)
        tiles.append(
            tile._replace(
                width=width,
                positions=tile.positions[:width],
                last_position=tile.positions[width - 1],
                salts=tile.salts[: 16 * width],
                payload_hashes=tile.payload_hashes[: 32 * width],
                leaf_hashes=tile.leaf_hashes[: 32 * width],
            )
        )
    return replace(back, tiles=tiles)


def _rewritten(log: Log, chance: Random) -> list[RawEvent]:
    """Return the events, one of them edited or deleted."""
    events = [*log.events]
    index = chance.randrange(_sealed(log) - 1)
    match chance.randrange(3):
        case 0:
            events[index] = events[index]._replace(actor_id=str(UUID(int=13)).encode())
        case 1:
            events[index] = events[index]._replace(data=b'{"attempt": 79}')
        case _:
            del events[index]
    return events


def rehash_the_history(log: Log, chance: Random) -> Tampered:
    """Change an event and compute everything anew; what was signed stays, or another key signs."""
    events = _rewritten(log, chance)
    sizes = [min(one.tree_size, len(events)) for one in log.checkpoints]
    anew = seal(events, sizes, STRANGER, chance)
    kinds = frozenset({Wrong.BAD_SIGNATURE})
    if chance.random() < 0.5:
        anew.checkpoints[:] = log.checkpoints
        kinds = frozenset({Wrong.REHASHED})
    # New salts make all leaves new ones: nothing fits since the beginning.
    return Tampered(anew, int(events[0].position), int(events[0].position), kinds)


def rehash_since(log: Log, chance: Random) -> Tampered:
    """Change an event and compute anew what it touches, with the old salts."""
    index = chance.randrange(_sealed(log))
    events = [*log.events]
    events[index] = events[index]._replace(request_id=b"forged")
    anew = seal(events, [one.tree_size for one in log.checkpoints], STRANGER)
    kept = _upto(log, index) if chance.random() < 0.5 else len(log.checkpoints)
    anew.checkpoints[:kept] = log.checkpoints[:kept]
    held = [0, *(one.tree_size for one in log.checkpoints if one.tree_size <= index)][-1]
    return Tampered(
        anew,
        _at(log, held),
        _at(log, index),
        frozenset({Wrong.REHASHED, Wrong.BAD_SIGNATURE}),
        replace(TRUST, copies=log.copies) if chance.random() < 0.5 else TRUST,
    )


def sign_with_another_key(log: Log, _chance: Random) -> Tampered:
    """Sign all checkpoints anew."""
    return _exactly(resigned(log, STRANGER), _at(log, 0), Wrong.BAD_SIGNATURE)


def change_a_sealed_hash(log: Log, chance: Random) -> Tampered:
    """Change a byte of a salt or a hash in a tile."""
    number = chance.randrange(len(log.tiles))
    tile = log.tiles[number]
    nth = chance.randrange(tile.width)
    match chance.randrange(3):
        case 0:
            changed = tile._replace(salts=_flipped(tile.salts, nth * 16, chance))
        case 1:
            changed = tile._replace(payload_hashes=_flipped(tile.payload_hashes, nth * 32, chance))
        case _:
            changed = tile._replace(leaf_hashes=_flipped(tile.leaf_hashes, nth * 32, chance))
    log.tiles[number] = changed
    return _exactly(log, tile.positions[nth], Wrong.EDITED, Wrong.BAD_TILE)


def change_a_tree_tile(log: Log, chance: Random) -> Tampered:
    """Change a byte of a hash above the leaves."""
    tile = chance.choice(sorted(log.tree_tiles))
    hashes = log.tree_tiles[tile]
    at = chance.randrange(len(hashes))
    log.tree_tiles[tile] = _flipped(hashes, at, chance)
    position = log.tiles[tile.tile * TILE_WIDTH + at // 32].first_position
    return _exactly(log, position, Wrong.BAD_TILE)


def forget_a_tile(log: Log, chance: Random) -> Tampered:
    """Delete a tile with the events in it."""
    number = chance.randrange(len(log.tiles) - 1)
    tile = log.tiles.pop(number)
    if chance.random() < 0.5:
        log.events[:] = [one for one in log.events if int(one.position) not in tile.positions]
    before = log.tiles[number - 1].last_position if number else 0
    return Tampered(log, before + 1, tile.first_position, frozenset({Wrong.BAD_TILE}))


def zero_a_salt(log: Log, chance: Random) -> Tampered:
    """Pretend that an event was redacted; nothing in the log says so."""
    index = chance.randrange(_sealed(log))
    tile = log.tiles[index // TILE_WIDTH]
    at = index % TILE_WIDTH * 16
    salts = tile.salts[:at] + bytes(16) + tile.salts[at + 16 :]
    log.tiles[index // TILE_WIDTH] = tile._replace(salts=salts)
    log.events[index] = log.events[index]._replace(data=b"{}")
    return _exactly(log, _at(log, index), Wrong.FORGED_REDACTION)


def _flipped(content: bytes, at: int, chance: Random) -> bytes:
    return content[:at] + bytes([content[at] ^ chance.randrange(1, 256)]) + content[at + 1 :]


TAMPERINGS: Final[Sequence[Tampering]] = (
    edit_a_column,
    edit_a_character,
    delete_some,
    swap_two,
    swap_data,
    insert_one,
    cut_the_tail,
    cut_the_tail_and_what_was_sealed,
    go_back_in_everything,
    rehash_the_history,
    rehash_since,
    sign_with_another_key,
    change_a_sealed_hash,
    change_a_tree_tile,
    forget_a_tile,
    zero_a_salt,
)
