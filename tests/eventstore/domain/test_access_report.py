"""An access report says one thing, once."""

from datetime import timedelta

import pytest

from reactorcide.eventstore.domain.access_report import ACCESS, Report, ReportStatus
from reactorcide.eventstore.domain.errors import IllegalTransition, NotLegal
from reactorcide.eventstore.domain.events import AccessEvent
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import (
    ARTIFACT_READ,
    DENIED,
    LOG_READ,
    NOW,
    REFUSED,
)

given = Story(ACCESS).given

EVERY = pytest.mark.parametrize("event", [DENIED, REFUSED, LOG_READ, ARTIFACT_READ])


@EVERY
def test_what_was_seen_is_recorded(event: AccessEvent) -> None:
    """As it was told."""
    state = given().when(Report(event)).then(event)
    assert (state.status, state.event) == (ReportStatus.RECORDED, event)


@EVERY
def test_the_same_again_adds_nothing(event: AccessEvent) -> None:
    """The answer to the first may have been lost."""
    given(event).when(Report(event)).then()


@EVERY
def test_a_second_report_needs_an_id_of_its_own(event: AccessEvent) -> None:
    """Even one that counts one more."""
    other = event.model_copy(update={"count": event.count + 1})
    assert given(event).when(Report(other)).refused(NotLegal).current_status == "recorded"


@pytest.mark.parametrize("change", [{"count": 0}, {"last_at": NOW - timedelta(seconds=1)}])
def test_nothing_seen_and_times_that_run_backwards_are_defects(change: dict[str, object]) -> None:
    """No caller can wish for them."""
    with pytest.raises(ValueError, match=" from "):
        given().when(Report(DENIED.model_copy(update=change)))


def test_a_corrupt_history_is_told() -> None:
    """Nothing follows a report."""
    with pytest.raises(IllegalTransition, match=r"access\.refused does not follow access recorded"):
        given(DENIED, REFUSED)
