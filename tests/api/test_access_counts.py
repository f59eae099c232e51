"""What is counted of attempts and reads: by caller and kind, bounded whatever comes."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from reactorcide.api.access_counts import AccessCounts, Attempt, Bounds
from reactorcide.eventstore.domain.events import AccessDenied, AccessLogRead, AccessRefused
from reactorcide.eventstore.record import Context

AT: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
JOB: Final = UUID(int=7)


def nobody(ip: str = "203.0.113.7", operation: str = "listJobs", at: datetime = AT) -> Attempt:
    """Return an attempt without a token that holds."""
    return Attempt(Context("anonymous", ip=ip, request_id=f"of-{ip}"), operation, at)


def somebody(number: int, ip: str = "203.0.113.7") -> Attempt:
    """Return a user's attempt."""
    context = Context("user", UUID(int=number), UUID(int=number), ip, request_id=f"r-{number}")
    return Attempt(context, "cancelJob", AT)


def test_attempts_of_one_caller_are_one_event() -> None:
    """With how many, from when to when, what was asked for, and the first one's request id."""
    counts = AccessCounts()
    for nth in range(1000):
        counts.unserved("bad_token", nobody(operation=f"op{nth % 30:02}", at=AT + nth * SECOND))
    ((event, who),) = counts.take()
    assert event == AccessDenied(
        reason="bad_token",
        count=1000,
        first_at=AT,
        last_at=AT + 999 * SECOND,
        operations=tuple(f"op{nth:02}" for nth in range(10)),
    )
    assert (who.actor_type, who.ip, who.request_id) == (
        "anonymous",
        "203.0.113.7",
        "of-203.0.113.7",
    )
    assert counts.take() == []


def test_callers_addresses_and_reasons_are_told_apart() -> None:
    """Each has an event of its own."""
    counts = AccessCounts()
    counts.unserved("bad_token", nobody())
    counts.unserved("no_token", nobody())
    counts.unserved("bad_token", nobody("203.0.113.8"))
    counts.unserved("forbidden", somebody(1))
    counts.unserved("forbidden", somebody(2))
    counts.unserved("conflict", somebody(1))
    counts.unserved("conflict", somebody(1, "::1"))
    taken = counts.take()
    assert len(taken) == 7
    kinds = [type(event) for event, _ in taken]
    assert (kinds.count(AccessDenied), kinds.count(AccessRefused)) == (5, 2)


def test_an_attack_from_many_addresses_is_counted_together() -> None:
    """And leaves no fewer rooms for those who are known."""
    counts = AccessCounts(Bounds(users=3, addresses=5))
    for nth in range(10_000):
        counts.unserved("bad_token", nobody(f"10.0.{nth // 256}.{nth % 256}"))
    for nth in range(1, 8):
        counts.unserved("forbidden", somebody(nth))
    denied = [(event, who) for event, who in counts.take() if isinstance(event, AccessDenied)]
    assert len(denied) == 5 + 1 + 3 + 1
    rest = [(event, who) for event, who in denied if event.is_rest]
    assert [(event.count, who.actor_type, who.ip, who.actor_id) for event, who in rest] == [
        (9995, "anonymous", None, None),
        (4, "user", None, None),
    ]
    assert sum(event.count for event, _ in denied) == 10_007


def test_addresses_of_one_ipv6_network_are_one_caller() -> None:
    """Whoever has one of them has all."""
    counts = AccessCounts()
    for nth in range(1, 500):
        counts.unserved("bad_token", nobody(f"2001:db8::{nth:x}"))
    counts.unserved("bad_token", nobody("2001:db8:0:1::1"))
    first, second = counts.take()
    assert isinstance(first[0], AccessDenied)
    assert isinstance(second[0], AccessDenied)
    assert (first[0].count, first[0].network, first[1].ip) == (499, "2001:db8::/64", "2001:db8::1")
    assert (second[0].count, second[0].network) == (1, "2001:db8:0:1::/64")


def test_a_clock_that_is_set_back_turns_no_times_around() -> None:
    """The last time is the latest that was seen."""
    counts = AccessCounts()
    counts.unserved("bad_token", nobody())
    counts.unserved("bad_token", nobody(at=AT - 60 * SECOND))
    ((event, _),) = counts.take()
    assert (event.first_at, event.last_at) == (AT, AT)


@pytest.mark.parametrize("paging", [1, 100])
def test_reads_are_counted_by_job_and_caller(paging: int) -> None:
    """However many requests it takes; a read without room is told, never mixed with others."""
    counts = AccessCounts(Bounds(reads=2))
    for job in (JOB, UUID(int=8), UUID(int=9)):
        for _ in range(paging):
            counts.read("log", job, somebody(1))
    assert counts.reads_lost == paging
    taken = counts.take()
    assert [event.job_id for event, _ in taken if isinstance(event, AccessLogRead)] == [
        JOB,
        UUID(int=8),
    ]
    assert {event.count for event, _ in taken} == {paging}
    assert counts.reads_lost == 0
