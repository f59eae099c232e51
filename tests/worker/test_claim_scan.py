"""Where a worker looks: it goes on, it begins anew in time, and it keeps out of others' way."""

from typing import Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from reactorcide.projections.job_suggestions import ALL, Share
from reactorcide.worker.claim_scan import ClaimScan

PLACE: Final = (0, UUID(int=7))
MOST_PARTS: Final = 64
HASHES: Final = range(0, 65536, 509)
"""What the hash of an id may be, enough of them."""

times: Final = st.floats(0, 2e9, allow_nan=False)
places: Final = st.tuples(st.integers(-100, 100), st.uuids())


def takes(share: Share, hashed: int) -> bool:
    """Whether a job is looked at, as the statement says it."""
    return share.of == 1 or hashed % share.of == share.rank


def met(rank: int, alive: int, now: float, times_met: int = 10) -> ClaimScan:
    """Return the scan of a worker that has met others so often."""
    scan = ClaimScan()
    scan.know(rank, alive)
    for _ in range(times_met):
        scan.meet(now)
    return scan


@given(st.lists(places, min_size=1), times)
def test_it_goes_on_after_what_was_found(found: list[tuple[int, UUID]], now: float) -> None:
    """After the last of each look, whatever that was; from the top once there was no more."""
    scan = ClaimScan()
    assert scan.after is None
    for place in found:
        scan.found(place, now, 0.001)
        assert scan.after == place
    scan.found(None, now, 0.001)
    assert scan.after is None


def test_a_new_one_is_due() -> None:
    """It has never looked."""
    assert ClaimScan().is_due(0)


@given(times, st.floats(0, 3), st.lists(st.floats(0, 0.05), max_size=20))
def test_it_is_due_in_time(now: float, seconds: float, later: list[float]) -> None:
    """A tenth of a second after a look from the top, or after 20 times what that took, up to 5 s.

    However often it has gone on since, and however long that took.
    """
    scan = ClaimScan()
    scan.found(PLACE, now, seconds)
    limit = min(max(0.1, seconds * 20), 5.0)
    for pause in later:
        scan.found(PLACE, now + min(pause, limit / 2), 1)
    assert not scan.is_due(now + limit * 0.9)
    assert scan.is_due(now + limit * 1.1 + 0.001)


@given(times)
def test_it_begins_from_the_top_when_told(now: float) -> None:
    """And goes on from there as ever; the time counts from the look, not from the telling."""
    scan = ClaimScan()
    scan.found(PLACE, now, 0)
    scan.restart()
    assert scan.after is None
    assert not scan.is_due(now + 0.05)
    scan.found(PLACE, now + 0.09, 0)
    assert not scan.is_due(now + 0.15)


@given(times, st.integers(0, 100), st.integers(1, 100))
def test_who_meets_nobody_looks_at_everything(now: float, rank: int, alive: int) -> None:
    """However many others there are."""
    scan = ClaimScan()
    scan.know(rank, alive)
    assert scan.share(now) == ALL


@given(times, st.integers(2, MOST_PARTS))
def test_workers_that_met_share_everything(now: float, alive: int) -> None:
    """Each job is looked at by exactly one, once all have met often enough."""
    shares = [met(rank, alive, now).share(now) for rank in range(alive)]
    assert {share.of for share in shares} == {alive}
    assert len({share.salt for share in shares}) == 1
    for hashed in HASHES:
        assert sum(takes(share, hashed) for share in shares) == 1


@given(times, st.integers(2, 300), st.integers(1, 10))
def test_nothing_is_nobodys_when_all_met_equally_often(
    now: float, alive: int, times_met: int
) -> None:
    """Also when there are more workers than parts, or coarser parts than workers."""
    shares = [met(rank, alive, now, times_met).share(now) for rank in range(alive)]
    of = shares[0].of
    assert of == min(2**times_met, alive, MOST_PARTS)
    assert {share.rank for share in shares} == set(range(of))


@given(st.integers(1, 20))
def test_who_meets_before_it_knows_of_others_takes_some_part(times_met: int) -> None:
    """As if there were many; and there is one other at least, the one it met."""
    scan = ClaimScan()
    for _ in range(times_met):
        scan.meet(0)
    share = scan.share(0)
    assert share.of == min(2**times_met, MOST_PARTS)
    assert 0 <= share.rank < share.of
    scan.know(0, 1)
    scan.meet(0)
    assert scan.share(0)[:2] == (2, 0)


@given(times, st.integers(0, 63), st.integers(2, 100))
def test_who_is_alone_again_looks_at_everything(now: float, rank: int, alive: int) -> None:
    """Step by step: no longer than two seconds for each halving."""
    scan = met(rank, alive, now)
    now += 2.001 * (scan.share(now).of.bit_length() - 1)
    shares = []
    for step in range(20):
        shares.append(scan.share(now + step * 2.001))
        assert shares[-1].rank < shares[-1].of
    parts = [share.of for share in shares]
    assert parts == sorted(parts, reverse=True)
    assert shares[7] == ALL


@given(times, st.integers(2, 64))
def test_who_goes_on_meeting_keeps_its_share(now: float, alive: int) -> None:
    """As long as it meets somebody every two seconds."""
    scan = met(0, alive, now)
    for step in range(20):
        scan.meet(now + step * 1.9)
        assert scan.share(now + step * 1.9 + 1.8).of == alive


@given(times)
def test_the_parts_change_with_time(now: float) -> None:
    """So that no job belongs to one busy worker for long; at one time all cut alike."""
    first, other = met(0, 2, now), met(1, 2, now)
    salts = [first.share(now + step * 0.35).salt for step in range(6)]
    assert len(set(salts)) >= 2
    assert first.share(now + 1).salt == other.share(now + 1).salt
