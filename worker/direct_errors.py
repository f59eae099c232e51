"""What the database's troubles mean to a worker."""

from collections.abc import Iterator
from contextlib import contextmanager

from reactorcide.eventstore.database import DatabaseError, StatementRefused
from reactorcide.eventstore.handle import ConflictPersists
from reactorcide.worker.coordinator import CoordinatorUnavailable


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise CoordinatorUnavailable for what may be better later."""
    try:
        yield
    except ConflictPersists as error:
        raise CoordinatorUnavailable(str(error)) from error
    except DatabaseError as error:
        if isinstance(error, StatementRefused) and not error.is_transient:
            raise
        raise CoordinatorUnavailable(error.detail) from error
