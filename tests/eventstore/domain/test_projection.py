"""A projection is rebuilt, as often as anybody likes."""

from uuid import UUID

from reactorcide.eventstore.domain.projection import (
    PROJECTION,
    ProjectionStatus,
    RecordRebuild,
    stream_id_of,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import REBUILT

given = Story(PROJECTION).given

AGAIN = REBUILT.model_copy(update={"position": 99})


def test_a_rebuild_is_recorded() -> None:
    """The state holds what was put in place."""
    state = given().when(RecordRebuild(REBUILT)).then(REBUILT)
    assert (state.status, state.rebuilt) == (ProjectionStatus.REBUILT, REBUILT)


def test_another_rebuild_is_another_fact() -> None:
    """No end: a table may be made anew for ever."""
    state = given(REBUILT).when(RecordRebuild(AGAIN)).then(AGAIN)
    assert state.rebuilt == AGAIN


def test_the_same_rebuild_is_recorded_once() -> None:
    """The answer to the first may have been lost."""
    given(REBUILT).when(RecordRebuild(REBUILT)).then()


def test_a_projection_has_the_same_stream_in_every_log() -> None:
    """Its id follows from its name alone, for ever."""
    assert stream_id_of("jobs") == UUID("43e257f3-cfdb-5f37-9a8b-6edcbcb9bdda")
    assert stream_id_of("jobs") != stream_id_of("users")
