"""Ways to tamper with the events of a sealed log alone, each with what must be found."""

from random import Random
from typing import Final
from uuid import UUID

from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.tests.eventstore.proof.logs import Log
from reactorcide.tests.eventstore.proof.tampered import Tampered, exactly, position_at, sealed

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


def edit_a_column(log: Log, chance: Random) -> Tampered:
    """Put another value into one column of one event; NULL where the column may be."""
    index = chance.randrange(sealed(log))
    column = chance.choice(sorted(_VALUES))
    value = _VALUES[column]
    if getattr(log.events[index], column) == value:
        value = b'{"attempt": 78}' if column == "data" else rb"\N"
    position = position_at(log, index)
    log.events[index] = log.events[index]._replace(**{column: value})
    return exactly(log, position, Wrong.EDITED)


def edit_a_character(log: Log, chance: Random) -> Tampered:
    """Change one digit somewhere in the data of an event."""
    while True:
        index = chance.randrange(sealed(log))
        data = log.events[index].data
        digits = [at for at, byte in enumerate(data) if chr(byte).isdigit()]
        if digits:
            break
    at = chance.choice(digits)
    other = b"%d" % ((data[at] - 48 + chance.randrange(1, 9)) % 10)
    changed = data[:at] + other + data[at + 1 :]
    log.events[index] = log.events[index]._replace(data=changed)
    return exactly(log, position_at(log, index), Wrong.EDITED)


def delete_some(log: Log, chance: Random) -> Tampered:
    """Delete an event, or a few that follow each other, before the last sealed one."""
    index = chance.randrange(sealed(log) - 1)
    number = min(chance.choice((1, 1, 2, 5)), sealed(log) - 1 - index)
    position = position_at(log, index)
    del log.events[index : index + number]
    return exactly(log, position, Wrong.DELETED)


def swap_two(log: Log, chance: Random) -> Tampered:
    """Let two events change places."""
    one, other = sorted(chance.sample(range(sealed(log)), 2))
    first, second = log.events[one], log.events[other]
    log.events[one] = second._replace(position=first.position)
    log.events[other] = first._replace(position=second.position)
    return exactly(log, int(first.position), Wrong.SWAPPED)


def swap_data(log: Log, chance: Random) -> Tampered:
    """Let two events change their data."""
    while True:
        one, other = sorted(chance.sample(range(sealed(log)), 2))
        first, second = log.events[one], log.events[other]
        if first.data != second.data:
            break
    log.events[one] = first._replace(data=second.data)
    log.events[other] = second._replace(data=first.data)
    return exactly(log, int(first.position), Wrong.EDITED)


def insert_one(log: Log, chance: Random) -> Tampered:
    """Insert an event where a position was never used, or once more where it was."""
    positions = [int(event.position) for event in log.events[: sealed(log)]]
    index = chance.randrange(sealed(log))
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
    return exactly(log, position, Wrong.INSERTED, Wrong.EDITED)
