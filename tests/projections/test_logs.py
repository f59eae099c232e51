"""A log reads the same from the table and from the store, and whatever is half-way between them."""

import asyncio
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.projections import log_objects
from reactorcide.projections.log_chunks import Part
from reactorcide.projections.log_objects import LogObject
from reactorcide.projections.logs import Logs
from reactorcide.projections.object_upkeep import store_logs
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.written_logs import (
    COUNT,
    all_readings,
    many,
    on_each_store,
    written,
)


@on_each_store
async def test_a_log_reads_the_same_as_an_object(
    connection: Connection, objects: ObjectStore
) -> None:
    """Each part in each way, over several blocks; the chunks are gone, a small log stays."""
    logs = Logs(connection, objects)
    attempts = {1: many(40, b"one", 4000), 2: [b"small\n"], 3: many(30, b"\xff\0three")}
    job_id = await written(connection, attempts)
    samples = [(3, 5000, 9000), (70_000, 0, 1), (0, 200_000, 1_300_000)]
    before = [await all_readings(logs, job_id, sample) for sample in samples]
    assert await store_logs(connection, objects) == 2
    after = [await all_readings(logs, job_id, sample) for sample in samples]
    assert after == before
    assert await connection.fetchval(COUNT) == 1
    first, third = await log_objects.find(connection, job_id)
    assert first.layout.blocks > 3
    assert await objects.keys(f"jobs/{job_id}") == sorted([first.object_key, third.object_key])
    assert await connection.fetchval("SELECT count(*) FROM unfinished_objects") == 0
    assert await store_logs(connection, objects) == 0


_pieces: Final = st.lists(
    st.lists(st.sampled_from((b"x", b"y\xc3", b"\n", b"\0")), min_size=1, max_size=5).map(b"".join),
    max_size=70,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=_pieces,
    others=_pieces,
    sample=st.tuples(st.integers(0, 20), st.integers(0, 99), st.integers(0, 99)),
)
async def test_what_is_cut_is_cut_where_the_whole_would_be(
    connection: Connection, pieces: list[bytes], others: list[bytes], sample: tuple[int, int, int]
) -> None:
    """Tail and range, however the output came in pieces, in both places."""
    logs = Logs(connection, ObjectStore("memory://"))
    job_id, whole = await written(connection, {1: pieces, 2: others}), b"".join(pieces + others)
    lines, start, length = sample
    expected = b"".join(_lines(whole)[-lines:]) if lines else b""
    for _ in range(2):
        tail = await logs.tail(Part(job_id), lines)
        assert b"".join(chunk.bytes for chunk in tail) == expected
        cut = [piece async for piece in logs.slices(Part(job_id), start, start + length)]
        assert b"".join(cut) == whole[start : start + length]
        assert await logs.size(Part(job_id)) == len(whole)
        await store_logs(connection, logs.objects)


def _lines(whole: bytes) -> list[bytes]:
    """Return lines as a tail counts them: newlines end them, and nothing else does."""
    parts = whole.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + [parts[-1]] * bool(parts[-1])


async def test_a_reader_goes_on_over_the_move(connection: Connection, objects: ObjectStore) -> None:
    """Who has read half of it in the table reads the other half in the store."""
    logs = Logs(connection, objects)
    pieces = many(30, b"line")
    job_id = await written(connection, {1: pieces})
    part = Part(job_id)
    first = await logs.read(part, limit_bytes=3000)
    forwards, backwards = logs.chunks(part, (1, first[-1].seq)), logs.slices(part, 0, 9000)
    assert await store_logs(connection, objects) == 1
    rest = [chunk async for chunk in forwards]
    assert [chunk.bytes for chunk in [*first, *rest]] == pieces
    cut = b"".join([piece async for piece in backwards])
    assert cut == b"".join(pieces)[:9000]


async def test_an_object_that_is_not_there_is_told(
    connection: Connection, objects: ObjectStore
) -> None:
    """Not as an empty log."""
    job_id = await written(connection, {1: many(20, b"line")})
    await store_logs(connection, objects)
    other = Logs(connection, ObjectStore("memory://"))
    with pytest.raises(StoreUnavailable, match=str(job_id)):
        await other.read(Part(job_id))


async def test_an_object_can_be_read_without_us(
    connection: Connection, objects: ObjectStore
) -> None:
    """`zcat` shows it: lines of JSON with numbers and times."""
    job_id = await written(connection, {1: many(20, b"line")})
    await store_logs(connection, objects)
    (stored,) = await log_objects.find(connection, job_id)
    assert isinstance(stored, LogObject)
    zcat = await asyncio.create_subprocess_exec(
        "gzip", "-dc", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    lines, _ = await zcat.communicate(await objects.read(stored.object_key))
    expected = b'{"seq":1,"at":"2030-01-01T12:30:15.123457Z","attempt":1,"stream":"stdout","data":"'
    assert lines.startswith(expected)
    assert lines.count(b"\n") == 20
