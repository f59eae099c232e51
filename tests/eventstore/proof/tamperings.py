"""Ways to tamper with a sealed log, each with what must be found: seeded, and without end.

Those of the events alone are `event_tamperings`.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final
from uuid import UUID

from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import TILE_WIDTH
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.tests.eventstore.proof.event_tamperings import (
    delete_some,
    edit_a_character,
    edit_a_column,
    insert_one,
    swap_data,
    swap_two,
)
from reactorcide.tests.eventstore.proof.logs import STRANGER, TRUST, Log, resigned, seal
from reactorcide.tests.eventstore.proof.tampered import (
    Tampered,
    Tampering,
    exactly,
    position_at,
    sealed,
)


def cut_the_tail(log: Log, chance: Random) -> Tampered:
    """Delete all events from one on, and leave what was sealed."""
    index = chance.randrange(sealed(log))
    position = position_at(log, index)
    del log.events[index:]
    return exactly(log, position, Wrong.TAIL_CUT)


def cut_the_tail_and_what_was_sealed(log: Log, chance: Random) -> Tampered:
    """Go back to an earlier state in everything but what was signed."""
    size = chance.choice([one.tree_size for one in log.checkpoints[:-1]])
    earlier = seal(
        log.events[:size], [one.tree_size for one in log.checkpoints[: _upto(log, size)]]
    )
    back = replace(log, events=log.events[:size], tiles=earlier.tiles)
    back = replace(_salted(back, log, size), tree_tiles=earlier.tree_tiles)
    return exactly(back, position_at(log, size - 1) + 1, Wrong.TAIL_CUT)


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
    index = chance.randrange(sealed(log) - 1)
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
    index = chance.randrange(sealed(log))
    events = [*log.events]
    events[index] = events[index]._replace(request_id=b"forged")
    anew = seal(events, [one.tree_size for one in log.checkpoints], STRANGER)
    kept = _upto(log, index) if chance.random() < 0.5 else len(log.checkpoints)
    anew.checkpoints[:kept] = log.checkpoints[:kept]
    held = [0, *(one.tree_size for one in log.checkpoints if one.tree_size <= index)][-1]
    return Tampered(
        anew,
        position_at(log, held),
        position_at(log, index),
        frozenset({Wrong.REHASHED, Wrong.BAD_SIGNATURE}),
        replace(TRUST, copies=log.copies) if chance.random() < 0.5 else TRUST,
    )


def sign_with_another_key(log: Log, _chance: Random) -> Tampered:
    """Sign all checkpoints anew."""
    return exactly(resigned(log, STRANGER), position_at(log, 0), Wrong.BAD_SIGNATURE)


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
    return exactly(log, tile.positions[nth], Wrong.EDITED, Wrong.BAD_TILE)


def change_a_tree_tile(log: Log, chance: Random) -> Tampered:
    """Change a byte of a hash above the leaves."""
    tile = chance.choice(sorted(log.tree_tiles))
    hashes = log.tree_tiles[tile]
    at = chance.randrange(len(hashes))
    log.tree_tiles[tile] = _flipped(hashes, at, chance)
    position = log.tiles[tile.tile * TILE_WIDTH + at // 32].first_position
    return exactly(log, position, Wrong.BAD_TILE)


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
    index = chance.randrange(sealed(log))
    tile = log.tiles[index // TILE_WIDTH]
    at = index % TILE_WIDTH * 16
    salts = tile.salts[:at] + bytes(16) + tile.salts[at + 16 :]
    log.tiles[index // TILE_WIDTH] = tile._replace(salts=salts)
    log.events[index] = log.events[index]._replace(data=b"{}")
    return exactly(log, position_at(log, index), Wrong.FORGED_REDACTION)


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
