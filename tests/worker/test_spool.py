"""What nobody heard is kept whole in files of its owner alone, and within a bound."""

import stat
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reactorcide.eventstore.domain.job import (
    Cancelled,
    Completed,
    Failed,
    Released,
    TimedOut,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.worker import spool as spool_module
from reactorcide.worker.coordinator import (
    AttemptKey,
    Chunk,
    CoordinatorUnavailable,
    Report,
)
from reactorcide.worker.spool import Spool, Spooled
from reactorcide.worker.spool_sender import SpoolSender

texts = st.text(st.characters(codec="utf-8"), max_size=20)

codes = st.none() | st.integers(0, 255)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

outcomes = st.one_of(
    st.builds(Completed, values, codes),
    st.builds(Failed, codes, texts),
    st.builds(TimedOut, codes, texts),
    st.builds(Cancelled, codes),
    st.builds(Released, texts),
)

chunks = st.builds(
    Chunk,
    st.integers(1, 2**31 - 1),
    st.sampled_from(["stdout", "stderr"]),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=40),
)


def entry_of(key: AttemptKey, worker_id: object = None) -> Spooled:
    """Return a completion to be kept."""
    return Spooled(worker_id or new_id(), Report(key, Completed()))  # type: ignore[arg-type]


@given(report=outcomes, log=st.lists(chunks, max_size=3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_kept_is_read_again(tmp_path: Path, report: object, log: list[Chunk]) -> None:
    """Whatever the outcome is and says, and the end of its log with it."""
    spool = Spool(tmp_path / "spool")
    key = AttemptKey(new_id(), 3)
    entry = Spooled(new_id(), Report(key, report), tuple(log))  # type: ignore[arg-type]
    await spool.keep([entry])
    assert key in spool.kept()
    assert spool.read(key) == entry
    spool.forget([key])
    assert key not in spool.kept()
    assert spool.read(key) is None


async def test_files_are_whole_and_for_their_owner_alone(tmp_path: Path) -> None:
    """One for each outcome, no draft is left; kept twice is kept once."""
    spool, entries = Spool(tmp_path / "spool"), [entry_of(AttemptKey(new_id(), 1)) for _ in "abc"]
    await spool.keep(entries)
    await spool.keep(entries)
    found = list((tmp_path / "spool").iterdir())
    assert len(found) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


async def test_there_is_a_bound_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room is left out; the rest is kept."""
    monkeypatch.setattr(spool_module, "MOST_FILES", 2)
    spool = Spool(tmp_path)
    with capture_logs() as logs:
        await spool.keep([entry_of(AttemptKey(new_id(), 1)) for _ in "abc"])
    assert len(spool.kept()) == 2
    assert [(line["event"], line["attempts"]) for line in logs] == [("outcomes_not_kept", 1)]


async def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """It is told in the log."""
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / "spool")
    with capture_logs() as logs:
        await spool.keep([entry_of(AttemptKey(new_id(), 1))])
    assert [line["event"] for line in logs] == ["spool_failed", "outcomes_not_kept"]
    assert spool.kept() == []


async def test_an_unreadable_file_is_put_aside(tmp_path: Path) -> None:
    """It is told once, and holds up nobody."""
    key = AttemptKey(new_id(), 1)
    spool = Spool(tmp_path)
    (tmp_path / f"{key.job_id}.1.json").write_text('{"format": 1')
    (tmp_path / "notes.txt").touch()
    assert spool.kept() == [key]
    with capture_logs() as logs:
        assert spool.read(key) is None
    assert [line["event"] for line in logs] == ["spooled_outcome_unreadable"]
    assert spool.kept() == []
    assert (tmp_path / f"{key.job_id}.1.unreadable").exists()


class Unreachable:
    """A coordinator that nobody reaches."""

    worker_id = new_id()

    async def finish_late(self, *_: object) -> None:
        """Fail."""
        detail = "away"
        raise CoordinatorUnavailable(detail)


async def test_what_is_not_heard_is_kept_on(tmp_path: Path) -> None:
    """And what the worker still works on is left to it."""
    spool, mine, others = Spool(tmp_path), AttemptKey(new_id(), 1), AttemptKey(new_id(), 1)
    await spool.keep([entry_of(mine)])
    sender = SpoolSender(spool, Unreachable(), {mine}.__contains__)  # type: ignore[arg-type]
    await sender.send()
    await spool.keep([entry_of(others)])
    with pytest.raises(CoordinatorUnavailable):
        await sender.send()
    assert set(spool.kept()) == {mine, others}
