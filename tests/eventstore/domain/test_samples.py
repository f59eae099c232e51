"""The samples and the tables leave nothing out."""

from typing import get_args

import pytest

from reactorcide.eventstore.domain import (
    access_report,
    archive,
    job,
    projection,
    redaction,
    token,
    user,
    worker,
)
from reactorcide.eventstore.domain.decider import fold
from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.events import (
    AccessEvent,
    AnyEvent,
    ArchiveEvent,
    Event,
    JobEvent,
    ProjectionEvent,
    RedactionEvent,
    TokenEvent,
    UserEvent,
    WorkerEvent,
)
from reactorcide.eventstore.domain.job import FINAL, HELD, JOB, Status
from reactorcide.tests.eventstore.domain.samples import EVENTS, WAY_TO


def test_there_is_a_sample_of_every_event() -> None:
    """A new kind of event needs a sample, and with it comes under these tests."""
    assert [type(event) for event in EVENTS] == list(get_args(AnyEvent))


@pytest.mark.parametrize(
    ("union", "transitions"),
    [
        (JobEvent, job.TRANSITIONS),
        (TokenEvent, token.TRANSITIONS),
        (UserEvent, user.TRANSITIONS),
        (WorkerEvent, worker.TRANSITIONS),
        (RedactionEvent, redaction.TRANSITIONS),
        (ArchiveEvent, archive.TRANSITIONS),
        (ProjectionEvent, projection.TRANSITIONS),
        (AccessEvent, access_report.TRANSITIONS),
    ],
)
def test_every_event_is_legal_somewhere(
    union: object, transitions: dict[str, dict[type[Event], str]]
) -> None:
    """An event that no row names could never be recorded."""
    named = {event for row in transitions.values() for event in row}
    assert named == set(get_args(union) or (union,))


@pytest.mark.parametrize(
    ("statuses", "transitions"),
    [
        (job.Status, job.TRANSITIONS),
        (token.TokenStatus, token.TRANSITIONS),
        (user.UserStatus, user.TRANSITIONS),
        (worker.WorkerStatus, worker.TRANSITIONS),
        (redaction.RedactionStatus, redaction.TRANSITIONS),
        (archive.ArchiveStatus, archive.TRANSITIONS),
        (projection.ProjectionStatus, projection.TRANSITIONS),
        (access_report.ReportStatus, access_report.TRANSITIONS),
    ],
)
def test_every_status_has_its_row(
    statuses: type[Status], transitions: dict[Status, object]
) -> None:
    """A status without a row would raise KeyError instead of telling what is wrong."""
    assert set(transitions) == set(statuses)


def test_the_contract_names_the_ended_statuses() -> None:
    """Said twice on purpose: outsiders rely on these four."""
    assert {"completed", "failed", "cancelled", "timeout"} == FINAL
    assert {"claimed", "running"} == HELD


@pytest.mark.parametrize("status", Status)
def test_the_way_to_a_status_leads_there(status: Status) -> None:
    """The examples start where they say."""
    assert fold(JOB, WAY_TO[status]).status is status


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", [e for e in EVENTS if e.wire_type.startswith("job.")])
def test_evolve_goes_where_the_table_says(status: Status, event: JobEvent) -> None:
    """Each of the 130 pairs: the table's status, or a corrupt history that says so."""
    state = fold(JOB, WAY_TO[status])
    target = job.TRANSITIONS[status].get(type(event))
    if target is not None:
        assert job.evolve(state, event).status is target
        return
    with pytest.raises(IllegalTransition) as caught:
        job.evolve(state, event)
    assert caught.value.status == status
    assert caught.value.event_type == event.wire_type
    assert caught.value.stream_type == "job"
