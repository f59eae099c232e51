"""Leaf entries: the same from the log's rows and from an event's fields, whatever they hold."""

import json
import os
from datetime import UTC
from hashlib import sha256
from typing import Any, Final

import pytest

from reactorcide.eventstore import leaves
from reactorcide.eventstore.canonical import canonical
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.leaves import RawEvent, Stretch, UnreadableData
from reactorcide.tests.conftest import Connection

INSERT: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, version, schema_version, type, data, actor_type, actor_id,
    token_id, ip, user_agent, request_id, correlation_id, causation_id, recorded_at
)
SELECT $1, $1, $2, 1, 1, $3, $4::jsonb, 'user', $5, $5, $6::text::inet, $7, $8, $5, $5,
    '2026-01-31T12:00:00Z'::timestamptz + $9 * interval '1 microsecond'"""
ODD: Final = (
    "",
    "plain",
    "tab\tline\nreturn\rback\\slash\\\\N \\N null",
    '"quoted" \b\f\v\x01\x7f',
    "\u00f6\u20ac\ufb33\U0001f600\u2028",
    r"\t\n\\t",
)
COLUMNS: Final = ("event_id", "stream_id", "actor_id", "token_id", "correlation_id", "causation_id")


async def read(connection: Connection, limit: int = 100) -> list[RawEvent]:
    """Return the log's events as the tree sees them."""
    found: list[RawEvent] = []
    await leaves.read_raw(connection, Stretch(0, 2**62, limit), found.extend)
    return found


async def record(connection: Connection, nth: int, data: str = "{}") -> None:
    """Append an event with odd texts around it; every second one has nothing that may be null."""
    text = ODD[nth % len(ODD)]
    some = new_id() if nth % 2 else None
    ip = ("10.0.0.7", "2001:db8::1")[nth // 2 % 2] if nth % 2 else None
    rest = (text, text) if nth % 2 else (None, None)
    await connection.execute(
        INSERT, new_id(), f"odd {text}", text, data, some, ip, *rest, 100_000 * nth
    )


async def test_an_entry_is_the_canonical_json_of_the_envelope(connection: Connection) -> None:
    """Whatever the texts hold; and the data are hashed in their canonical form, salted."""
    for nth in range(2 * len(ODD)):
        data = {"b": ODD[nth % len(ODD)], ODD[-nth % len(ODD)]: [nth / 8, None, {"z": 1, "a": 2}]}
        await record(connection, nth, json.dumps(data))
    await connection.execute("SET TimeZone = 'Asia/Tokyo'")
    await connection.execute("SET DateStyle = 'German'")
    rows = await connection.fetch("SELECT *, host(ip) AS address FROM events ORDER BY position")
    found = await read(connection)
    assert len(found) == len(rows) == 2 * len(ODD)
    salt = os.urandom(16)
    for raw, row in zip(found, rows, strict=True):
        leaf = raw.leaf(salt)
        assert leaf.position == row["position"]
        assert leaf.payload_hash == sha256(salt + canonical(json.loads(row["data"]))).digest()
        assert leaf.payload_hash == leaves.payload_hash(salt, row["data"])
        envelope: dict[str, Any] = {name: row[name] for name in leaves.ENVELOPE}
        envelope |= {name: row[name] and str(row[name]) for name in COLUMNS}
        envelope["ip"] = row["address"]
        at = row["recorded_at"].astimezone(UTC).replace(tzinfo=None)
        envelope["recorded_at"] = leaves.recorded_at_text(at.isoformat())
        entry = leaves.leaf_entry({**envelope, "more": 1}, leaf.payload_hash)
        assert raw.entry(leaf.payload_hash) == entry
        assert leaf.leaf_hash == sha256(b"\0" + entry).digest()
        assert json.loads(entry)["recorded_at"].startswith("2026-01-31T12:00:0")


async def test_a_stretch_ends_where_it_was_asked_to(connection: Connection) -> None:
    """Behind one position, up to another, so many at most."""
    for nth in range(6):
        await record(connection, nth)
    all_of_them = [int(raw.position) for raw in await read(connection)]
    found: list[RawEvent] = []
    await leaves.read_raw(connection, Stretch(all_of_them[0], all_of_them[4], 9), found.extend)
    assert [int(raw.position) for raw in found] == all_of_them[1:5]
    assert len(await read(connection, 2)) == 2


async def test_data_without_a_canonical_form_are_named(connection: Connection) -> None:
    """A number that no double holds: nobody could hash it alike."""
    await record(connection, 1, '{"n": 1e400}')
    (raw,) = await read(connection)
    with pytest.raises(UnreadableData, match="plain at position"):
        raw.leaf(bytes(16))
