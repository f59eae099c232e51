"""Seals events for tests that need sealed ones."""

import os

from reactorcide.eventstore.leaves import RawEvent, Stretch, read_raw
from reactorcide.tests.conftest import Connection


async def seal_all(connection: Connection) -> None:
    """Seal the log as it is."""
    raw: list[RawEvent] = []
    await read_raw(connection, Stretch(0, 2**62, 256), raw.extend)
    salts = [os.urandom(16) for _ in raw]
    leaves = [one.leaf(salt) for one, salt in zip(raw, salts, strict=True)]
    positions = [one.position for one in leaves]
    await connection.execute("DELETE FROM sealed_tiles")
    await connection.execute(
        "INSERT INTO sealed_tiles VALUES (0, $1, $2, $3, $4, $5, $6, $7)",
        positions[0],
        positions[-1],
        len(leaves),
        positions,
        b"".join(salts),
        b"".join(one.payload_hash for one in leaves),
        b"".join(one.leaf_hash for one in leaves),
    )
