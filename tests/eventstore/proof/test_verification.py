"""What tampering alone does not show: copies of tiles, streams on disk, other keys."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactorcide.cli.tiles import write_tree
from reactorcide.eventstore.codec import EVENT_TYPES
from reactorcide.eventstore.leaves import RawEvent
from reactorcide.eventstore.merkle import TILE_BYTES, TileId
from reactorcide.eventstore.proof.copies import Directory, NoCheckpoints, tile_path
from reactorcide.eventstore.proof.findings import Wrong
from reactorcide.eventstore.proof.rows import Copy
from reactorcide.eventstore.proof.streams import Streams
from reactorcide.tests.eventstore.proof.logs import (
    SIGNER,
    STRANGER,
    TRUST,
    Log,
    resigned,
    seal,
    some_events,
    verified,
)

_SIZE: Final = 600


@pytest.fixture(scope="module")
def log() -> Log:
    """A log of three tiles with one signature, at its end."""
    return seal(some_events(_SIZE, Random(5)), [_SIZE])  # noqa: S311  a seed


def _handed_out(log: Log, folder: Path) -> Directory:
    """Copy the log's tree into a directory, as `audit checkpoint` does."""

    def fetch(level: int, first: int, count: int) -> bytes:
        if level:
            tiles = [log.tree_tiles[TileId(level, first + nth)] for nth in range(count)]
        else:
            tiles = [tile.leaf_hashes for tile in log.tiles[first : first + count]]
        assert all(len(tile) == TILE_BYTES for tile in tiles[:-1])
        return b"".join(tiles)

    write_tree(folder, _SIZE, log.checkpoints[-1].note, fetch)
    return Directory(folder)


@pytest.mark.parametrize("index", [0, 255, 256, 300, _SIZE - 1])
def test_tiles_kept_elsewhere_name_the_event_in_a_rewritten_history(
    log: Log, tmp_path: Path, index: int
) -> None:
    """By signatures alone it is only known that something before them was changed."""
    events = [*log.events]
    events[index] = events[index]._replace(request_id=b"forged")
    anew = resigned(seal(events, [_SIZE]), STRANGER)
    blurred = verified(anew)
    assert blurred is not None
    assert (blurred.position, blurred.until) == (1, log.last_position)
    kept = _handed_out(log, tmp_path)
    finding = verified(anew, replace(TRUST, copies=kept.copies, tiles=(kept,)))
    assert finding is not None
    assert (finding.kind, finding.position) == (Wrong.REHASHED, int(events[index].position))
    assert verified(log, replace(TRUST, copies=kept.copies, tiles=(kept,))) is None


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_however_a_log_was_sealed_it_is_right(log: Log, data: st.DataObject) -> None:
    """In batches of any sizes, signed after each; some events may not be sealed yet."""
    number = data.draw(st.integers(1, _SIZE))
    sizes = data.draw(st.sets(st.integers(1, number), max_size=12))
    assert verified(seal(log.events[:number], sizes)) is None


def test_tiles_are_where_the_format_says() -> None:
    """The example of https://c2sp.org/tlog-tiles."""
    assert tile_path(TileId(0, 1234067)) == "tile/0/x001/x234/067"
    assert tile_path(TileId(1, 7)) == "tile/1/007"


def test_a_directory_without_checkpoints_is_no_copy(tmp_path: Path) -> None:
    """It would look as if it had been compared."""
    (tmp_path / "notes.txt").write_text("nothing signed", "utf-8")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoCheckpoints):
            Directory(place)


def test_a_copy_that_another_key_signed_is_wrong(log: Log) -> None:
    """It is of this log's size and says something else: one of the two was rewritten."""
    copy = Copy(resigned(log, STRANGER).checkpoints[-1].note, "the safe")
    finding = verified(log, replace(TRUST, copies=(copy,)))
    assert finding is not None
    assert finding.kind == Wrong.BAD_SIGNATURE
    assert "the safe" in finding.detail


def test_a_log_whose_key_was_changed_needs_both(log: Log) -> None:
    """Each signature counts that one of the keys made."""
    later = seal([*log.events], [300, _SIZE])
    later.checkpoints[1] = resigned(later, STRANGER).checkpoints[1]
    assert verified(later) is not None
    assert verified(later, replace(TRUST, keys=(SIGNER.verifier, STRANGER.verifier))) is None


def _settled(events: list[RawEvent], in_memory: int) -> object:
    with Streams(in_memory) as streams:
        for begin in range(0, len(events), 50):
            streams.note(events[begin : begin + 50])
        return streams.settle()


@pytest.mark.parametrize("in_memory", [1, 170, 10_000])
def test_streams_are_followed_whether_noted_in_memory_or_on_disk(log: Log, in_memory: int) -> None:
    """The first event that does not follow is found, however much is kept in files."""
    assert _settled(log.events, in_memory) is None
    chance = Random(6)  # noqa: S311  a seed
    for _ in range(20):
        gone = chance.randrange(len(log.events))
        left = [one for nth, one in enumerate(log.events) if nth != gone]
        stream_id = log.events[gone].stream_id
        later = [one for one in log.events[gone + 1 :] if one.stream_id == stream_id]
        expected = int(later[0].position) if later else None
        found = _settled(left, in_memory)
        assert (found.position if found else None) == expected  # type: ignore[attr-defined]  # a finding


@pytest.mark.parametrize(
    ("schema_version", "data", "is_lawful"),
    [
        (b"2", b"{}", True),
        (b"2", b'{"waits": false}', True),
        (b"2", b'{"args": {"waits": true}, "name": "\\\\"waits\\\\": true"}', True),
        (b"2", b'{"waits": true}', False),
        (b"1", b"{}", False),
    ],
)
def test_a_job_that_waits_is_queued_before_it_is_claimed(
    schema_version: bytes, data: bytes, *, is_lawful: bool
) -> None:
    """Any other is queued by its submission, which says so itself; in version 1 all waited."""
    row = RawEvent(*[b"x"] * len(RawEvent._fields))._replace(stream_type=b"job")
    first = row._replace(schema_version=schema_version, data=data, type=b"job.submitted")
    events = [
        one._replace(position=nth, version=nth)
        for one, nth in ((first, b"1"), (row._replace(type=b"job.claimed"), b"2"))
    ]
    found = _settled(events, 10)
    assert (found is None) is is_lawful
    assert is_lawful or found.kind is Wrong.UNLAWFUL  # type: ignore[attr-defined]  # a finding


def test_every_type_of_event_is_known_to_the_rules_of_its_streams() -> None:
    """A new kind of stream has rules of its own here, or none, but is never taken for unknown."""
    for name in EVENT_TYPES:
        stream_type = name.partition(".")[0]
        row = RawEvent(*[b"x"] * len(RawEvent._fields))._replace(
            stream_type=stream_type.encode(), type=name.encode(), version=b"1", position=b"1"
        )
        finding = _settled([row], 10)
        assert finding is None or finding.kind != Wrong.UNKNOWN, name  # type: ignore[attr-defined]  # a finding
