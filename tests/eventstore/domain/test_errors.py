"""A rejection carries what a shell needs to render it."""

from reactorcide.eventstore.domain.errors import (
    AlreadyTaken,
    CommandRejected,
    NotFound,
    NotLeaseHolder,
    NotLegal,
)


def test_a_taken_value_names_its_field() -> None:
    """The API points at it."""
    rejection = AlreadyTaken("username")
    assert (rejection.field, rejection.detail) == ("username", "username is already taken")


def test_a_missing_stream_names_its_kind() -> None:
    """Not its id: that is the caller's."""
    assert NotFound(kind="job").detail == "no such job"


def test_a_late_write_is_a_conflict_and_a_rejection() -> None:
    """Whoever only knows the wider kinds handles it too."""
    rejection = NotLeaseHolder(1, 2, "running")
    assert isinstance(rejection, NotLegal)
    assert isinstance(rejection, CommandRejected)
    assert str(rejection) == ("attempt 1 does not hold the lease; the job is running at attempt 2")
