"""Logs go into the store once and whole, when their attempts have ended; nothing else is left."""

import pytest

from reactorcide.eventstore.domain.job import Completed, DeleteJob, FinishAttempt
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.projections import log_objects, unfinished_objects
from reactorcide.projections.log_chunks import Part
from reactorcide.projections.logs import Logs
from reactorcide.projections.object_upkeep import Writing, store_log, store_logs, sweep
from reactorcide.projections.small_logs import SmallLogs, store_together
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal, now
from reactorcide.tests.projections.written_logs import (
    AT,
    COUNT,
    WRITE,
    all_readings,
    many,
    on_each_store,
    written,
)


async def test_a_running_attempt_keeps_its_chunks(
    connection: Connection, objects: ObjectStore
) -> None:
    """Until it has ended; others of its job go."""
    journal = Journal(connection)
    job_id = await journal.submit()
    await journal.claim(job_id)
    for seq, piece in enumerate(many(20, b"line"), 1):
        await connection.execute(WRITE, job_id, 1, seq, "stdout", AT, piece)
    assert await store_logs(connection, objects) == 0
    await journal.tell(job_id, FinishAttempt(1, Completed(), now(), 0))
    assert await store_logs(connection, objects) == 1


async def test_large_logs_are_found_by_their_index(connection: Connection) -> None:
    """The many small ones that stay are never looked at."""
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    await connection.execute("PREPARE taking AS " + unfinished_objects._TAKE_LOGS)  # noqa: SLF001
    plan = await connection.fetch("EXPLAIN EXECUTE taking (1)")
    assert "log_chunks_large" in "".join(row[0] for row in plan)
    assert "Seq Scan on log_chunks" not in "".join(row[0] for row in plan)


@on_each_store
async def test_a_small_log_goes_too_when_it_has_rested(
    connection: Connection, objects: ObjectStore
) -> None:
    """It reads the same; what is large, running or fresh is left to others, or to a later time."""
    logs, journal = Logs(connection, objects), Journal(connection)
    small = await written(connection, {1: [b"one\n", b"\xff\0"], 2: [b"two", b"\n", b"err"]})
    large = await written(connection, {1: many(20, b"line")})
    running = await journal.submit()
    await journal.claim(running)
    await connection.execute(WRITE, running, 1, 1, "stdout", AT, b"more comes")
    assert await SmallLogs(connection, objects).store_some() == 0
    await connection.execute("UPDATE log_chunks SET printed_at = now() - interval '61 s'")
    before = await all_readings(logs, small, (1, 2, 3))
    assert await SmallLogs(connection, objects).store_some() == 2
    assert await all_readings(logs, small, (1, 2, 3)) == before
    assert await SmallLogs(connection, objects).store_some() == 0
    stored = await log_objects.find(connection, small)
    assert await objects.keys("jobs") == sorted(one.object_key for one in stored)
    assert [one.attempt for one in stored] == [1, 2]
    left = await connection.fetch("SELECT DISTINCT job_id FROM log_chunks ORDER BY job_id")
    assert [row[0] for row in left] == sorted([large, running])
    assert await connection.fetchval("SELECT count(*) FROM unfinished_objects") == 0


async def test_small_logs_go_batch_by_batch_and_take_their_share_of_time(
    connection: Connection, objects: ObjectStore
) -> None:
    """Nobody is passed over, and a look too early does nothing."""
    moment = 0.0
    walk = SmallLogs(connection, objects, lambda: moment)
    jobs = [await written(connection, {1: [b"small\n"]}) for _ in range(120)]
    assert [await walk.store_some(rest_seconds=-1e9) for _ in range(4)] == [50, 50, 20, 0]
    for job_id in jobs:
        assert len(await log_objects.find(connection, job_id)) == 1
    assert await connection.fetchval(COUNT) == 0
    times = iter((100.0, 101.0, 120.9, 121.0, 121.5))
    slow = SmallLogs(connection, objects, lambda: next(times))
    await written(connection, {1: [b"small\n"]})
    assert await slow.store_some(rest_seconds=-1e9) == 1
    await written(connection, {1: [b"small\n"]})
    assert [await slow.store_some(rest_seconds=-1e9) for _ in range(2)] == [0, 1]


async def test_a_small_log_that_another_stored_meanwhile_is_kept_once(
    connection: Connection, objects: ObjectStore
) -> None:
    """The slower one removes its own; a store that fails leaves the log where it was."""
    job_id = await written(connection, {1: [b"small\n"]})
    with pytest.raises(StoreUnavailable):
        await SmallLogs(connection, ObjectStore("file:///dev/null/objects")).store_some(-1e9)
    assert await connection.fetchval(COUNT) == 1
    assert await SmallLogs(connection, objects).store_some(-1e9) == 0
    (first,) = await unfinished_objects.left(connection, 0, 9)
    await store_together(connection, objects, [first._replace(prefix=first.prefix + "x")])
    assert await log_objects.find(connection, job_id) == []
    assert await objects.keys("jobs") == []
    await store_together(connection, objects, [first])
    (kept,) = await log_objects.find(connection, job_id)
    await store_together(connection, objects, [first])
    assert await log_objects.find(connection, job_id) == [kept]
    assert await objects.keys("jobs") == [kept.object_key]


async def test_two_who_store_at_once_keep_one_object(
    connection: Connection, objects: ObjectStore
) -> None:
    """The slower one removes its own."""
    job_id = await written(connection, {1: many(20, b"line")})
    (taken,) = await unfinished_objects.take_logs(connection, 9)
    assert await unfinished_objects.take_logs(connection, 9) == []
    await connection.execute("UPDATE unfinished_objects SET noted_at = now() - interval '11 min'")
    assert await store_logs(connection, objects) == 1
    (kept,) = await log_objects.find(connection, job_id)
    await store_log(connection, objects, taken)
    assert await log_objects.find(connection, job_id) == [kept]
    assert await objects.keys("jobs") == [kept.object_key]


async def test_what_a_crash_left_is_found_and_removed(
    connection: Connection, objects: ObjectStore
) -> None:
    """An object without a row is nobody's; the log is still in the table, and is stored again."""
    logs = Logs(connection, objects)
    job_id = await written(connection, {1: many(20, b"line")})
    whole = [chunk async for chunk in logs.chunks(Part(job_id))]
    (taken,) = await unfinished_objects.take_logs(connection, 9)
    await objects.put(taken.prefix, Writing(connection, taken).blocks())
    assert [chunk async for chunk in logs.chunks(Part(job_id))] == whole
    assert await sweep(connection, objects) == 0  # somebody may still be at it
    assert await sweep(connection, objects, left_seconds=0) == 1
    assert await objects.keys("jobs") == []
    assert await store_logs(connection, objects) == 1
    assert [chunk async for chunk in logs.chunks(Part(job_id))] == whole


async def test_a_log_whose_note_is_gone_is_not_kept(
    connection: Connection, objects: ObjectStore
) -> None:
    """The job was deleted meanwhile, or a sweep thought that nobody was at it."""
    job_id = await written(connection, {1: many(20, b"line")})
    (taken,) = await unfinished_objects.take_logs(connection, 9)
    await unfinished_objects.forget(connection, taken)
    await store_log(connection, objects, taken)
    assert await objects.keys("jobs") == []
    assert await log_objects.find(connection, job_id) == []
    assert await connection.fetchval(COUNT) == 20


async def test_nothing_of_a_deleted_job_is_left(
    connection: Connection, objects: ObjectStore
) -> None:
    """Neither rows nor objects; a job that was not deleted after all keeps everything."""
    journal = Journal(connection)
    deleted, kept = [await journal.submit() for _ in range(2)]
    for job_id in (deleted, kept):
        await journal.claim(job_id)
        await journal.tell(job_id, FinishAttempt(1, Completed(), now(), 0))
        for seq, piece in enumerate(many(20, b"line"), 1):
            await connection.execute(WRITE, job_id, 1, seq, "stdout", AT, piece)
    assert await store_logs(connection, objects) == 2
    await connection.execute(WRITE, deleted, 2, 1, "stdout", AT, b"small")
    for job_id in (deleted, kept):
        await unfinished_objects.note_deleted(connection, job_id)
    await journal.tell(deleted, DeleteJob())
    assert await sweep(connection, objects) == 1
    (left,) = await log_objects.find(connection, kept)
    assert await objects.keys("jobs") == [left.object_key]
    assert await connection.fetchval(COUNT) == 0
    assert await connection.fetchval("SELECT count(*) FROM unfinished_objects") == 1
    await sweep(connection, objects, left_seconds=0)
    assert await connection.fetchval("SELECT count(*) FROM unfinished_objects") == 0
    assert await log_objects.find(connection, kept) == [left]


async def test_a_store_that_fails_leaves_the_log_where_it_was(connection: Connection) -> None:
    """And says so."""
    job_id = await written(connection, {1: many(20, b"line")})
    broken = ObjectStore("file:///dev/null/objects")
    with pytest.raises(StoreUnavailable):
        await store_logs(connection, broken)
    chunks = [chunk async for chunk in Logs(connection, broken).chunks(Part(job_id))]
    assert len(chunks) == 20
