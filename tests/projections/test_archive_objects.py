"""An object of archived streams proves what it holds, and what is done to it is found."""

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Any

import pytest

from reactorcide.eventstore import merkle, redactions
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.leaves import leaf_entry, payload_hash
from reactorcide.eventstore.merkle import leaf_hash
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import sealed_log
from reactorcide.projections.archive_check import ArchiveBroken, Checked, check
from reactorcide.projections.archiving import archive
from reactorcide.projections.redacting import redact_rows
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.archiving_at_work import (
    follow,
    nothing,
    some_jobs,
    soon,
)
from reactorcide.tests.projections.test_redacting import FACT, LEFT


async def test_an_object_proves_what_it_holds(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Payload, leaf and inclusion under a signed checkpoint; the log has the object's digest."""
    await some_jobs(connection)
    await follow(connection)
    (signed,) = await sealed_log.newest(connection)
    await archive(database, objects, soon(), nothing)
    row = await connection.fetchrow("SELECT data::text FROM events WHERE type = 'streams.archived'")
    assert row is not None
    fact = json.loads(row[0])
    content = await objects.read(fact["object_key"])
    assert sha256(content).hexdigest() == fact["sha256"]
    lines = gzip.decompress(content).splitlines()
    assert len(lines) == fact["events"]
    for line in lines:
        told: Mapping[str, Any] = json.loads(line)
        payload = payload_hash(bytes.fromhex(told["salt"]), json.dumps(told["data"]))
        assert payload.hex() == told["payload_hash"]
        leaf = leaf_hash(leaf_entry(told, payload))
        proof = await sealed_log.inclusion(connection, told["leaf_index"], signed.tree_size)
        size, root = signed.tree_size, signed.root
        assert merkle.is_included(told["leaf_index"], size, leaf, proof, root)


async def test_what_is_done_to_an_object_is_found(
    connection: Connection, database: Database, objects: ObjectStore
) -> None:
    """Gone, another, or told otherwise by the tables; a redacted event is no harm."""
    ended = await some_jobs(connection)
    first = next(iter(ended.values()))[0]
    await follow(connection)
    async with connection.transaction():
        await connection.execute(FACT, first.stream_id, first.type)
        assert await redactions.erase(connection, first.position, LEFT)
        await redact_rows(connection, "job", first.stream_id)
    await follow(connection)
    done = await archive(database, objects, soon(), nothing)
    assert await check(database, objects, nothing) == Checked(1, done.events)
    (key,) = await objects.keys("archive")
    whole = await objects.read(key)
    other = gzip.compress(gzip.decompress(whole).replace(b'"exit_code":1', b'"exit_code":2'))
    for content in (whole[:-1], other, b""):
        await objects.put(key, _one(content))
        with pytest.raises(ArchiveBroken, match="SHA-256"):
            await check(database, objects, nothing)
    await objects.put(key, _one(whole))
    for sql in (
        "UPDATE archived_streams SET events = events + 1",
        "UPDATE sealed_tiles SET leaf_hashes = payload_hashes",
        "DELETE FROM archived_objects",
    ):
        await connection.execute(sql)
        with pytest.raises(ArchiveBroken):
            await check(database, objects, nothing)
        if "streams" in sql:
            await connection.execute("UPDATE archived_streams SET events = events - 1")
            await check(database, objects, nothing)
    await objects.delete_all(key)
    with pytest.raises(ArchiveBroken, match="no object"):
        await check(database, objects, nothing)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
