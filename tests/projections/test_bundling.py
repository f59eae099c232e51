"""Bundles: whole, of a stream, of a stretch; verified offline, and whatever is changed is found."""

import gzip
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.proof.bundle import BundleBroken
from reactorcide.eventstore.proof.bundle_walk import VerifiedBundle, verify_bundle
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.eventstore.proof.rows import Copy
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.projections import sealed_log
from reactorcide.projections.bundling import Bundled, NothingSealed, Selection, write_bundle
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.sealed import recorded, seal, trust_in

_OTHER_KEY: Final = b"o" * 32


class Bundles:
    """A sealed log, and how its bundles are written and verified."""

    def __init__(self, database: Database, folder: Path, trust: Trust) -> None:
        self.trust = trust
        self._database = database
        self.path = folder / "log.bundle"

    async def write(self, **selection: Any) -> Bundled:
        """Write one."""
        quiet: Callable[[int, int], None] = lambda _done, _total: None  # noqa: E731  a word
        return await write_bundle(self._database, self.path, Selection(**selection), quiet)

    def verified(self) -> VerifiedBundle:
        """Verify what was written."""
        return verify_bundle(self.path, self.trust)

    @property
    def lines(self) -> list[bytes]:
        """What is in the file."""
        return gzip.decompress(self.path.read_bytes()).splitlines(keepends=True)

    def put(self, lines: Sequence[bytes]) -> None:
        """Put other lines in."""
        self.path.write_bytes(gzip.compress(b"".join(lines), 1))


@pytest.fixture
async def streams(database: Database, connection: Connection) -> list[UUID]:
    """The streams of a log that is sealed and signed every 100 events."""
    made = await recorded(connection, 90, Random(9))  # noqa: S311  a seed
    await seal(database, 100)
    return made


@pytest.fixture
async def bundles(
    database: Database, connection: Connection, tmp_path: Path, streams: list[UUID]
) -> Bundles:
    """Bundles of that log."""
    assert streams
    return Bundles(database, tmp_path, await trust_in(connection))


async def test_each_part_of_a_log_proves_itself(
    bundles: Bundles, connection: Connection, streams: list[UUID]
) -> None:
    """All of it with each signature; a stream, and any stretch, by the newest alone."""
    events = await connection.fetchval("SELECT count(*) FROM events")
    positions = [row[0] for row in await connection.fetch("SELECT position FROM events ORDER BY 1")]
    assert await bundles.write() == Bundled(events, events)
    seen = bundles.verified()
    assert (seen.finding, seen.holds, seen.events) == (None, "log", events)
    assert (seen.checkpoints, seen.position) == (-(-events // 100), positions[-1])
    assert seen.log == await sealed_log.origin(connection)
    for stream_id in streams[::17]:
        count = await connection.fetchval(
            "SELECT count(*) FROM events WHERE stream_id = $1", stream_id
        )
        await bundles.write(stream_id=stream_id)
        seen = bundles.verified()
        assert (seen.finding, seen.holds, seen.events) == (None, "stream", count)
    for first, last in ((0, 2), (1, 1), (250, 260), (events - 1, events - 1), (3, events - 2)):
        await bundles.write(first=positions[first], last=positions[last])
        seen = bundles.verified()
        assert (seen.finding, seen.holds, seen.events) == (None, "range", last - first + 1)
        assert (seen.checkpoints, seen.position) == (1, positions[last])


async def test_what_anybody_changes_in_a_bundle_is_found(bundles: Bundles) -> None:
    """An event that is edited, taken away, put in or moved; a signature by another key."""
    await bundles.write()
    lines = bundles.lines
    whole = [nth for nth, line in enumerate(lines) if line.startswith(b'{"leaf"')]
    chance = Random(10)  # noqa: S311  a seed
    for nth in range(60):
        at = chance.choice(whole[:-1])
        event = json.loads(lines[at])["event"]
        changed = [*lines]
        match nth % 6:
            case 0:
                changed[at] = lines[at].replace(b'"actor_type":"system"', b'"actor_type":"worker"')
                kind = Wrong.EDITED
            case 1:
                data = json.dumps({"attempt": 99}).encode()
                changed[at] = lines[at].partition(b',"data":')[0] + b',"data":' + data + b"}\n"
                kind = Wrong.EDITED
            case 2:
                del changed[at]
                following = next(one for one in whole if one > at)
                event = json.loads(lines[following])["event"]
                kind = Wrong.DELETED
            case 3:
                changed.insert(at, lines[at])
                kind = Wrong.INSERTED
            case 4:
                other = next(one for one in whole if one > at)
                changed[at], changed[other] = lines[other], lines[at]
                event = json.loads(lines[other])["event"]
                kind = Wrong.DELETED
            case _:
                salt = json.loads(lines[at])["salt"].encode()
                changed[at] = lines[at].replace(salt, salt[::-1])
                kind = Wrong.EDITED
        bundles.put(changed)
        finding = bundles.verified().finding
        assert finding is not None, nth
        assert (finding.kind, finding.position) == (kind, event["position"]), (nth, finding)


async def test_what_a_forger_makes_fit_is_not_what_was_signed(bundles: Bundles) -> None:
    """An edited envelope with its hash computed anew is narrowed down by the signatures."""
    from hashlib import sha256  # noqa: PLC0415  the forger's tool

    await bundles.write()
    lines = bundles.lines
    at = [nth for nth, line in enumerate(lines) if line.startswith(b'{"leaf"')][120]
    says = json.loads(lines[at])
    entry = lines[at].partition(b',"event":')[2].partition(b',"data":')[0]
    forged = entry.replace(b'"user_agent":null', b'"user_agent":"forged"')
    leaf = sha256(b"\x00" + forged).hexdigest().encode()
    lines[at] = lines[at].replace(entry, forged).replace(says["hash"].encode(), leaf)
    bundles.put(lines)
    finding = bundles.verified().finding
    assert finding is not None
    assert finding.kind == Wrong.REHASHED
    assert finding.until is not None
    assert finding.position <= says["event"]["position"] <= finding.until
    leaves = [json.loads(line) for line in lines if line.startswith(b'{"leaf"')]
    told = [one["event"]["position"] for one in leaves]
    assert sum(finding.position <= one <= finding.until for one in told) == 100


async def test_only_the_right_key_and_all_that_was_signed_will_do(
    bundles: Bundles, connection: Connection
) -> None:
    """Another key's signature does not count; a copy that tells of more events does."""
    await bundles.write()
    bundles.trust = await trust_in(connection, _OTHER_KEY)
    finding = bundles.verified().finding
    assert finding is not None
    assert finding.kind == Wrong.BAD_SIGNATURE
    bundles.trust = await trust_in(connection)
    newest = (await sealed_log.newest(connection))[0]
    lines = bundles.lines
    signed = [nth for nth, line in enumerate(lines) if line.startswith(b'{"checkpoint"')]
    shorter = lines[: signed[-2] + 1]
    count = sum(line.startswith(b'{"leaf"') for line in shorter)
    bundles.put([*shorter, b'{"end":%d}\n' % count])
    assert bundles.verified().finding is None  # so much was signed, at that time
    bundles.trust = replace(bundles.trust, copies=(Copy(newest.note, "the safe"),))
    finding = bundles.verified().finding
    assert finding is not None
    assert finding.kind == Wrong.TAIL_CUT


async def test_a_file_that_is_no_whole_bundle_is_refused(bundles: Bundles) -> None:
    """With the line and the reason, never with a traceback."""
    await bundles.write()
    lines, content = bundles.lines, bundles.path.read_bytes()
    for broken in (
        lines[1:],
        lines[:-1],
        [*lines[:3], b"[]\n", *lines[3:]],
        [*lines[:3], b'{"leaf":2,"event":{},"data":{}}\n', *lines[3:]],
        [*lines[:1], re.sub(rb'"event_id":"[^"]*"', b'"event_id":7', lines[1]), *lines[2:]],
        [*lines[:1], b'{"skipped":[[0,"00"]]}\n'],
        [*lines, lines[1]],
        [],
    ):
        bundles.put(broken)
        with pytest.raises(BundleBroken):
            bundles.verified()
    for cut in (content[: len(content) // 2], b"", b"no gzip at all"):
        bundles.path.write_bytes(cut)
        with pytest.raises(BundleBroken):
            bundles.verified()


async def test_what_is_not_sealed_has_no_bundle(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    """It is said so, and no file is left."""
    await recorded(connection, 1, Random(1))  # noqa: S311  a seed
    bundles = Bundles(database, tmp_path, await trust_in(connection))
    with pytest.raises(NothingSealed):
        await bundles.write()
    assert not os.listdir(tmp_path)  # noqa: PTH208  it would wait too
