"""What is made once, and stays: every kind by the same rules, in words of its own."""

from typing import Any

import pytest

from reactorcide.eventstore.domain.access_report import ACCESS
from reactorcide.eventstore.domain.archive import ARCHIVE
from reactorcide.eventstore.domain.decider import Decider, fold
from reactorcide.eventstore.domain.errors import IllegalTransition, NotLegal
from reactorcide.eventstore.domain.events import EventRedacted, StreamsArchived
from reactorcide.eventstore.domain.once import Make
from reactorcide.eventstore.domain.redaction import REDACTION
from reactorcide.tests.eventstore.domain.samples import DENIED, EVENTS, LOG_READ

(REDACTED,) = (event for event in EVENTS if isinstance(event, EventRedacted))
(ARCHIVED,) = (event for event in EVENTS if isinstance(event, StreamsArchived))

EVERY = pytest.mark.parametrize(
    ("rules", "event", "other", "status", "words"),
    [
        (REDACTION, REDACTED, REDACTED, "redacted", "redacted already"),
        (ARCHIVE, ARCHIVED, ARCHIVED, "archived", "another object"),
        (ACCESS, DENIED, LOG_READ, "recorded", "another report"),
    ],
)


@EVERY
def test_it_is_made_once(
    rules: Decider[Any, Any, Any], event: Any, other: Any, status: str, words: str
) -> None:
    """As it was told; the second time is refused with where it stands."""
    assert rules.decide(rules.initial, Make(event)) == (event,)
    state = fold(rules, [event])
    assert (state.status, state.event) == (status, event)
    with pytest.raises(NotLegal, match=words) as caught:
        rules.decide(state, Make(other))
    assert caught.value.current_status == status


@EVERY
def test_twice_in_a_log_is_a_corrupt_history(
    rules: Decider[Any, Any, Any], event: Any, other: Any, status: str, words: str
) -> None:
    """Which is told with the kind of stream and its status."""
    assert words
    with pytest.raises(IllegalTransition) as caught:
        fold(rules, [event, other])
    assert (caught.value.stream_type, caught.value.status) == (rules.stream_type, status)
