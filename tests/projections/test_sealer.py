"""The sealer: every event a leaf, once, in order; one signed tree, whatever happens to sealers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from reactorcide.eventstore import merkle
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database, DatabaseError, database_errors
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.leaves import RawEvent, Stretch, read_raw
from reactorcide.eventstore.merkle import TILE_WIDTH
from reactorcide.eventstore.signed_note import Signer, TreeHead
from reactorcide.projections import checkpoints, sealed_log, sealer
from reactorcide.projections.runner import Runner
from reactorcide.projections.sealer import LogSealer
from reactorcide.projections.subscription import CannotFollow, Pace, UnknownType
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore import test_no_skip as no_skip
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.test_runner import appended

KEY: Final = b"k" * 32
QUICK: Final = Pace()

TILES: Final = "SELECT * FROM sealed_tiles ORDER BY tile"
LOG: Final = "SELECT position FROM events ORDER BY position"
FILL: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, version, schema_version, type, data, actor_type
)
SELECT gen_random_uuid(), gen_random_uuid(), 'job', 1, 1, 'test.happened',
    jsonb_build_object('n', n), 'system'
FROM generate_series(1, $1) AS n"""


def unheard(_tree_size: int, _note: str) -> None:
    """Announce to nobody."""


def a_sealer(events_each: int = 10_000, key: bytes = KEY) -> LogSealer:
    """Return a sealer that nobody listens to."""
    return LogSealer(key, unheard, events_each, QUICK)


@asynccontextmanager
async def holding(database: Database) -> AsyncIterator[AnyConnection]:
    """Lend a session that holds the sealer's lock."""
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, sealer.NAME)
        yield session


async def sealed_by(session: AnyConnection, one: LogSealer) -> None:
    """Seal all there is."""
    while (await one.advance(session)).is_behind:
        pass


async def sealed_positions(connection: Connection) -> list[int]:
    """Return the positions of all leaves, in their order."""
    return [one for row in await connection.fetch(TILES) for one in row["positions"]]


async def is_all_sealed(connection: Connection) -> bool:
    """Say whether the leaves are the log's events, each once and in order."""
    log = [row[0] for row in await connection.fetch(LOG)]
    return await sealed_positions(connection) == log


async def check_tree(connection: Connection, key: bytes = KEY) -> int:
    """Hold every hash, tile and signature against the log; return the size of the tree."""
    rows = await connection.fetch(TILES)
    events: list[RawEvent] = []
    await read_raw(connection, Stretch(0, 2**62, 2**31 - 1), events.extend)
    salts, payloads, hashes = (
        b"".join([row[name] for row in rows]) for name in ("salts", "payload_hashes", "leaf_hashes")
    )
    leaves = [event.leaf(salts[at * 16 : at * 16 + 16]) for at, event in enumerate(events)]
    assert [leaf.position for leaf in leaves] == await sealed_positions(connection)
    assert b"".join([leaf.payload_hash for leaf in leaves]) == payloads
    assert b"".join([leaf.leaf_hash for leaf in leaves]) == hashes
    tree = merkle.Tree()
    tiles = tree.append(hashes)
    assert await sealed_log.tiles(connection, tiles) == tiles
    assert [row["width"] for row in rows[:-1]] == [TILE_WIDTH] * (len(rows) - 1)
    for row in rows:
        assert (row["first_position"], row["last_position"]) == (
            row["positions"][0],
            row["positions"][-1],
        )
    verifier = Signer(await sealed_log.origin(connection), key).verifier
    for one in await sealed_log.newest(connection, 1_000_000):
        head = TreeHead.parse(verifier.open(one.note))
        assert head == TreeHead(verifier.name, one.tree_size, one.root)
        assert one.root == merkle.root_at(one.tree_size, tiles)
        assert one.last_position == leaves[one.tree_size - 1].position
    return tree.size


@pytest.mark.parametrize("events_each", [1, 100, 256, 10_000])
async def test_the_tree_is_the_same_in_batches_of_any_size(
    database: Database, connection: Connection, events_each: int
) -> None:
    """Full and partial tiles, a second level, and one signed checkpoint for each batch."""
    steps = (1, 2) if events_each == 1 else (1, 254, 1, 1, 300)
    one = a_sealer(events_each)
    async with holding(database) as session:
        for count in steps:
            await connection.execute(FILL, count)
            await sealed_by(session, one)
            assert await is_all_sealed(connection)
        assert not (await one.advance(session)).is_behind
    assert await check_tree(connection) == sum(steps)
    expected = sum(-(-count // events_each) for count in steps)
    assert len(await sealed_log.newest(connection, 1000)) == expected


async def test_sealers_take_turns_without_a_gap_or_a_double(
    database: Database, connection: Connection
) -> None:
    """Whoever comes goes on from what is committed, not from what it remembers."""
    some = [a_sealer(50) for _ in range(3)]
    async with holding(database) as session:
        for nth in range(12):
            await connection.execute(FILL, 60)
            await some[nth % 3].advance(session)
        await sealed_by(session, some[0])
    assert await check_tree(connection) == 720
    assert await is_all_sealed(connection)


async def test_nothing_is_skipped_while_many_write(
    database: Database, connection: Connection
) -> None:
    """Slow commits, rollbacks, killed writers, conflicts, and sealers that stand by."""
    course = no_skip.Course(database)
    async with (
        asyncio.timeout(60),
        Doorbell(database) as doorbell,
        Runner(database, doorbell, a_sealer()),
        Runner(database, doorbell, a_sealer()),
    ):
        async with asyncio.TaskGroup() as writers:
            for number in range(no_skip.WRITERS):
                writers.create_task(no_skip.write(course, number))
        await until(lambda: is_all_sealed(connection), 30)
    assert await check_tree(connection) == no_skip.WRITERS * no_skip.COMMANDS


async def test_a_batch_is_written_whole_or_not_at_all(
    database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends behind the leaves: nothing is there, and the next batch has it all."""
    await connection.execute(FILL, 300)
    written = sealed_log.write

    async def write_and_die(session: AnyConnection, batch: sealed_log.Batch) -> None:
        await written(session, batch)
        with database_errors():
            await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    one = a_sealer()
    owner = await database.connect(role=False)  # who may kill its session
    try:
        assert await checkpoints.take(owner, sealer.NAME)
        monkeypatch.setattr(sealed_log, "write", write_and_die)
        with pytest.raises(DatabaseError), database_errors():
            await one.advance(owner)
        monkeypatch.undo()
    finally:
        owner.terminate()
    assert await sealed_positions(connection) == []
    async with holding(database) as session:
        await sealed_by(session, one)
    assert await check_tree(connection) == 300


async def test_what_nobody_knows_is_sealed_as_well(
    database: Database, connection: Connection
) -> None:
    """A newer version's event is a leaf as any other."""
    await appended(connection, "tomorrow.invented")
    async with holding(database) as session:
        assert (await a_sealer().advance(session)).stopped_by is None
    assert await check_tree(connection) == 1


async def test_what_cannot_be_hashed_stops_the_sealer_there(
    database: Database, connection: Connection
) -> None:
    """All before it is sealed, nothing behind it, and the list says where."""
    await connection.execute(FILL, 3)
    await connection.execute(FILL.replace("'n', n", "'n', '1e400'::numeric"), 1)
    await connection.execute(FILL, 2)
    positions = [row[0] for row in await connection.fetch(LOG)]
    async with holding(database) as session:
        advanced = await a_sealer().advance(session)
        assert advanced.stopped_by == UnknownType(positions[3], "test.happened")
        assert (await a_sealer().advance(session)).stopped_by == advanced.stopped_by
    assert await sealed_positions(connection) == positions[:3]
    (standing,) = await checkpoints.standings(connection, [sealer.NAME])
    assert standing.stopped_position == positions[3]


async def test_a_salt_that_is_gone_stays_gone(database: Database, connection: Connection) -> None:
    """The last tile grows without what the sealer remembers of it."""
    one = a_sealer()
    async with holding(database) as session:
        for _ in range(2):
            await connection.execute(FILL, 2)
            await sealed_by(session, one)
            await connection.execute(
                "UPDATE sealed_tiles SET salts = overlay(salts PLACING $1 FROM 1)", bytes(16)
            )
    (row,) = await connection.fetch(TILES)
    assert row["salts"][:16] == bytes(16)
    assert bytes(16) not in {row["salts"][at : at + 16] for at in (16, 32, 48)}


async def test_a_log_of_another_key_is_refused(database: Database, connection: Connection) -> None:
    """Two programs with a key each would take turns; a new key is one that somebody asked for."""
    await connection.execute(FILL, 1)
    async with holding(database) as session:
        await sealed_by(session, a_sealer())
        await connection.execute(FILL, 1)
        with pytest.raises(CannotFollow, match="another key"):
            await a_sealer(key=b"o" * 32).advance(session)
        await sealed_by(session, a_sealer())
        assert await check_tree(connection) == 2
        await connection.execute(FILL, 1)
        await sealed_by(session, LogSealer(b"o" * 32, unheard, is_key_new=True))
        await connection.execute(FILL, 1)
        await sealed_by(session, a_sealer(key=b"o" * 32))
        with pytest.raises(CannotFollow, match="another key"):
            await a_sealer().advance(session)


async def test_positions_are_found_in_the_tree(database: Database, connection: Connection) -> None:
    """With gaps between them; and nothing where no event is, or none is sealed."""
    for _ in range(5):
        await connection.execute(FILL, 130)
        await connection.execute("SELECT nextval('events_position_seq')")
    async with holding(database) as session:
        await sealed_by(session, a_sealer(100))
    await connection.execute(FILL, 1)
    positions = await sealed_positions(connection)
    for index in (0, 129, 130, 255, 256, 649):
        place = await sealed_log.place_of(connection, positions[index])
        assert place is not None
        assert place.leaf_index == index
        proof = await sealed_log.inclusion(connection, index, 650)
        root = await sealed_log.root_at(connection, 650)
        assert merkle.is_included(index, 650, place.leaf_hash, proof, root)
    for missing in (0, 131, positions[-1] + 1, positions[-1] + 2):
        assert await sealed_log.place_of(connection, missing) is None
