"""The log of a real database: right as it was sealed, and whatever is changed in it is named."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from random import Random
from typing import Final, NamedTuple

import pytest

from reactorcide.eventstore.canonical import canonical
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.projections.log_walk import Verified, verify_in, verify_log
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.sealed import recorded, seal, trust_in

_STREAMS: Final = 90


class Case(NamedTuple):
    """A change, by SQL with the position as $1, and how it may be told."""

    sql: str
    kinds: tuple[Wrong, ...]


EDITS: Final = (
    "event_id = gen_random_uuid()",
    "stream_id = gen_random_uuid()",
    "stream_type = 'worker'",
    "version = version + 100",
    "schema_version = 9",
    "type = 'job.forgotten'",
    'data = data || \'{"note": "a lie"}\'',
    "actor_type = 'worker'",
    "actor_id = gen_random_uuid()",
    "token_id = gen_random_uuid()",
    "ip = '198.51.100.1'",
    "user_agent = E'a\\\\b\\n\"c'",
    "request_id = 'another'",
    "correlation_id = gen_random_uuid()",
    "causation_id = gen_random_uuid()",
    "payload_hash = sha256('')",
    "recorded_at = recorded_at + interval '1 microsecond'",
    "recorded_at = 'infinity'",
)
_EDITED: Final = (Wrong.EDITED,)
CASES: Final = (
    *(Case(f"UPDATE events SET {one} WHERE position = $1::bigint", _EDITED) for one in EDITS),  # noqa: S608  constants
    Case("DELETE FROM events WHERE position = $1::bigint", (Wrong.DELETED,)),
    Case(
        "DELETE FROM events WHERE position BETWEEN $1::bigint AND $1::bigint + 3", (Wrong.DELETED,)
    ),
    Case("DELETE FROM events WHERE position >= $1::bigint", (Wrong.TAIL_CUT,)),
    Case(
        "UPDATE events SET position = $1::bigint + $1::bigint + 7 - position + 1000000 "
        "WHERE position IN ($1::bigint, $1::bigint + 7)",
        (Wrong.SWAPPED,),
    ),
    Case(
        "UPDATE sealed_tiles SET salts = set_byte("
        "salts, 16 * (array_position(positions, $1::bigint) - 1), "
        "get_byte(salts, 16 * (array_position(positions, $1::bigint) - 1)) # 1) "
        "WHERE $1::bigint = ANY (positions)",
        _EDITED,
    ),
    Case(
        "UPDATE sealed_tiles SET leaf_hashes = set_byte(leaf_hashes, "
        "32 * (array_position(positions, $1::bigint) - 1), "
        "get_byte(leaf_hashes, 32 * (array_position(positions, $1::bigint) - 1)) # 1) "
        "WHERE $1::bigint = ANY (positions)",
        (Wrong.EDITED, Wrong.BAD_TILE),
    ),
)
_BACK: Final = "UPDATE events SET position = position - 1000000 WHERE position > 1000000"
_POSITIONS: Final = "SELECT position FROM events ORDER BY position"


def _quiet(_done: int, _total: int) -> None:
    """Show nothing."""


@asynccontextmanager
async def tampering(connection: Connection) -> AsyncIterator[None]:
    """Let the database's owner change what it may not, and undo all of it."""
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        await connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
        yield
    finally:
        await transaction.rollback()


async def _looked_through(connection: Connection) -> Verified:
    return await verify_in(connection, await trust_in(connection), _quiet)


@pytest.fixture
async def positions(database: Database, connection: Connection) -> Sequence[int]:
    """The positions of a log that is sealed in batches, with three events that are not yet."""
    chance = Random(7)  # noqa: S311  a seed
    await connection.execute("SET timezone = 'UTC'")
    await recorded(connection, _STREAMS, chance)
    await seal(database, 100)
    found = [row[0] for row in await connection.fetch(_POSITIONS)]
    await recorded(connection, 1, chance)
    return found


async def test_what_is_as_it_was_sealed_is_right(
    database: Database, connection: Connection, positions: Sequence[int]
) -> None:
    """All of it is counted, what is not sealed yet as well, and progress is told."""
    told: list[tuple[int, int]] = []
    trust = await trust_in(connection)
    seen = await verify_log(database, trust, lambda done, total: told.append((done, total)))
    assert seen.finding is None
    assert (seen.events, seen.position) == (len(positions), positions[-1])
    assert seen.not_sealed == 1
    assert seen.checkpoints == -(-len(positions) // 100)
    assert told
    assert len(positions) > 256


async def test_each_change_is_named_with_its_position(
    connection: Connection, positions: Sequence[int]
) -> None:
    """Any column, rows that go, come, and change places: in a real table, by its owner."""
    chance = Random(8)  # noqa: S311  a seed
    there = {*positions}
    places = [one for one in positions[:-9] if one + 7 in there]  # to change places with
    for case in CASES * 2:
        position = chance.choice(places)
        async with tampering(connection):
            await connection.execute("ALTER TABLE events DROP CONSTRAINT events_stream_version")
            await connection.execute(case.sql, position)
            await connection.execute(_BACK)
            seen = await _looked_through(connection)
        assert seen.finding is not None, case
        assert seen.finding.position == position, (case, seen.finding)
        assert seen.finding.kind in case.kinds, (case, seen.finding)
    assert (await _looked_through_at_rest(connection)).finding is None


async def _looked_through_at_rest(connection: Connection) -> Verified:
    async with tampering(connection):
        return await _looked_through(connection)


async def test_the_audit_trail_tells_what_was_deleted(
    connection: Connection, positions: Sequence[int]
) -> None:
    """The event is gone, and its row of the trail is still there."""
    async with tampering(connection):
        await connection.execute("""
            INSERT INTO audit_events (position, recorded_at, reached_at, is_late, type, stream_type,
                stream_id, actor_type, event_id, outcome)
            SELECT position, recorded_at, recorded_at, false, type, stream_type,
                stream_id, actor_type, event_id, 'success' FROM events""")
        gone = await connection.fetchrow(
            "DELETE FROM events WHERE position = $1 RETURNING type, stream_id::text", positions[9]
        )
        finding = (await _looked_through(connection)).finding
    assert gone is not None
    assert finding is not None
    assert (finding.position, finding.stream_id) == (positions[9], gone["stream_id"])
    assert gone["type"] in finding.text


async def test_an_unlawful_event_is_named_though_it_was_sealed(
    database: Database, connection: Connection, positions: Sequence[int]
) -> None:
    """Who may insert can insert nonsense, and the sealer seals it: the rules refuse it."""
    ended = await connection.fetchval("SELECT stream_id FROM events WHERE type = 'job.completed'")
    position = await connection.fetchval(
        """
        INSERT INTO events (event_id, stream_id, stream_type, version, schema_version, type, data,
            actor_type)
        SELECT gen_random_uuid(), stream_id, 'job', max(version) + 1, 1, 'job.started',
            '{"attempt": 1}', 'system'
        FROM events WHERE stream_id = $1 GROUP BY stream_id RETURNING position""",
        ended,
    )
    await seal(database)
    finding = (await _looked_through_at_rest(connection)).finding
    assert finding is not None
    assert position > positions[-1]
    assert (finding.kind, finding.position) == (Wrong.UNLAWFUL, position)
    assert finding.stream_id == str(ended)
    assert "job.started does not follow job" in finding.text


async def test_a_redacted_event_is_right_and_a_forged_one_is_not(
    database: Database, connection: Connection, positions: Sequence[int]
) -> None:
    """The log says that it was redacted, and what is left; anything else is refused."""
    redacted = await connection.fetchrow(
        "SELECT position, event_id FROM events WHERE type = 'job.submitted' AND position > $1",
        positions[20],
    )
    assert redacted is not None
    position, event_id = redacted
    left = {"name": "[redacted]", "user_id": "018f0000-0000-7000-8000-000000000001"}
    telling = {
        "position": position,
        "reason": "asked for",
        "remaining_hash": sha256(canonical(left)).hexdigest(),
    }
    await connection.execute(
        """
        INSERT INTO events (event_id, stream_id, stream_type, version, schema_version, type, data,
            actor_type)
        VALUES (gen_random_uuid(), $1, 'redaction', 1, 1, 'event.redacted', $2, 'system')""",
        event_id,
        json.dumps(telling),
    )
    erase = "UPDATE events SET data = $2 WHERE position = $1"
    unsalt = """
        UPDATE sealed_tiles SET salts = overlay(salts PLACING decode(repeat('00', 16), 'hex')
            FROM 16 * (array_position(positions, $1) - 1) + 1) WHERE $1 = ANY (positions)"""
    for is_sealed in (False, True):
        if is_sealed:
            await seal(database)
        for others, kind in ((False, None), (True, Wrong.FORGED_REDACTION)):
            data = json.dumps({**left, "name": "somebody else"} if others else left)
            async with tampering(connection):
                await connection.execute(erase, position, data)
                await connection.execute(unsalt, position)
                finding = (await _looked_through(connection)).finding
            assert (finding and finding.kind) == kind
            assert finding is None or finding.position == position
    async with tampering(connection):
        await connection.execute(unsalt, positions[3])
        finding = (await _looked_through(connection)).finding
    # The data are still there, and have no salt: nothing says that they may be so.
    assert finding is not None
    assert (finding.kind, finding.position) == (Wrong.FORGED_REDACTION, positions[3])
