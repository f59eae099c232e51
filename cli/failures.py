"""What the server side raises, as exit codes. Imported by the commands that are heavy anyway."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from reactorcide.cli import exits
from reactorcide.cli.exits import Stop
from reactorcide.cli.postgres_binaries import EmbeddedPostgresError
from reactorcide.eventstore.codec import CodecError
from reactorcide.eventstore.database import DatabaseError
from reactorcide.eventstore.domain.errors import AlreadyTaken, CommandRejected, NotFound, NotLegal
from reactorcide.migrations.schema import MigrationError
from reactorcide.projections.projection import UnknownProjection
from reactorcide.projections.rebuild import RebuildUnderWay, TableBusy

OURS: Final = (
    EmbeddedPostgresError,
    MigrationError,
    DatabaseError,
    CommandRejected,
    CodecError,
    UnknownProjection,
    RebuildUnderWay,
    TableBusy,
)


@contextmanager
def told() -> Iterator[None]:
    """End with one clear line and the right code when something of ours fails inside."""
    try:
        yield
    except (*OURS, BaseExceptionGroup) as error:
        first = _first(error)
        if not isinstance(first, OURS):
            raise
        raise Stop(_code_of(first), "; ".join(_text_of(first).splitlines())) from None


def _code_of(error: BaseException) -> int:
    match error:
        case UnknownProjection():
            return exits.USAGE
        case NotFound():
            return exits.NOT_FOUND
        case NotLegal() | AlreadyTaken() | RebuildUnderWay():
            return exits.CONFLICT
        case CommandRejected():
            return exits.DENIED
        case _:
            return exits.UNAVAILABLE


def _text_of(error: BaseException) -> str:
    match error:
        case RebuildUnderWay():
            return f"somebody else is rebuilding {error}"
        case TableBusy():
            return f"long transactions kept the table busy all the time: {error}"
        case _:
            return str(error)


def _first(error: BaseException) -> BaseException:
    """Return the first that happened of those that tasks raised together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
