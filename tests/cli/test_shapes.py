"""Small pure parts: durations, pairs, exit codes, events in a stream."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.cli.durations import seconds_in
from reactorcide.cli.exits import code_of_job
from reactorcide.cli.sse import ServerSentEvent, events_in


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)]
)
def test_a_duration_is_seconds(text: str, seconds: int) -> None:
    """The contract's four units."""
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1.5h", "1w", "0s", "1s 2s", "٣s", "9" * 30])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With a text that says what is allowed."""
    with pytest.raises(ValueError, match="90s"):
        seconds_in(text)


@pytest.mark.parametrize(
    ("status", "exit_code", "propagate", "expected"),
    [
        ("completed", 0, False, 0),
        ("failed", 7, False, 1),
        ("failed", 7, True, 7),
        ("failed", None, True, 1),
        ("cancelled", 143, True, 9),
        ("timeout", 143, True, 10),
    ],
)
def test_an_outcome_is_an_exit_code(
    status: str, exit_code: int | None, expected: int, *, propagate: bool
) -> None:
    """The contract's table; only a failed job hands its own code on."""
    assert code_of_job(status, exit_code, propagate=propagate) == expected


STREAM = (
    b"retry: 1000\n\n: a comment\n\nevent: log\nid: 1-1\ndata: {}\n\n"
    b"event: log\r\nid: 1-2\r\ndata: a\r\ndata: \xc3\xa9\r\n\r\n"
    b"event: end\ndata:no space\n\nevent: cut\ndata: off"
)
EVENTS = [
    ServerSentEvent("log", "{}", "1-1"),
    ServerSentEvent("log", "a\né", "1-2"),
    ServerSentEvent("end", "no space", "1-2"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_bytes_come(cuts: list[int]) -> None:
    """The network cuts where it likes."""
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(ends)]
    assert list(events_in(pieces)) == EVENTS
