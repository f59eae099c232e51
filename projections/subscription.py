"""An asynchronous projection: what follows the log behind its writers, batch by batch.

Up to the safe position only, so nothing is skipped and one number is the checkpoint. The rows of
a batch and the checkpoint are one transaction. An event of a type that this version does not
know is where it ends: a newer version wrote it, and may go on.

A subscription is a fold: it writes its own table and has no other effect, so it may be run
again from the beginning.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.horizon import safe_position
from reactorcide.projections import checkpoints
from reactorcide.projections.table import Difference, Digest

EVENTS_EACH: Final = 10_000

# The last of the next events that are all known, and the first that is not, if any.
_NEXT: Final = """
WITH batch AS (
    SELECT position, type FROM events
    WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3
), unknown AS (
    SELECT position, type FROM batch WHERE type <> ALL ($4::text[]) ORDER BY position LIMIT 1
)
SELECT
    (
        SELECT max(position) FROM batch
        WHERE position < coalesce((SELECT position FROM unknown), 9223372036854775807)
    ) AS until,
    (SELECT position FROM unknown) AS unknown_position,
    (SELECT type FROM unknown) AS unknown_type"""


class Compared(NamedTuple):
    """How a table compares with what the log makes, up to the checkpoint."""

    position: int
    made: Digest
    """Of the rows that the log makes."""
    live: Digest
    differences: tuple[Difference, ...]


class UnknownType(NamedTuple):
    """An event that is in the way."""

    position: int
    wire_type: str


class Advanced(NamedTuple):
    """Where a step left a subscription."""

    position: int
    is_behind: bool
    """There is more to be taken at once."""
    stopped_by: UnknownType | None


class Pace(NamedTuple):
    """When a runner leaves the machine to others."""

    interval_seconds: float = 0.02
    """Between two steps that take something, at least: what comes meanwhile is taken together."""
    rest: float = 4.0
    """So many times as long as a step took it waits before the next."""
    short_rest: float = 1.0
    patient_seconds: float = 30.0
    """Behind for so long, it takes the shorter rest."""


_PACE: Final = Pace()


class CannotFollow(Exception):  # noqa: N818  named by what is so, like the database's errors
    """This program must not go on with the projection: another one may."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Follower(Protocol):
    """What a runner keeps up with the log."""

    @property
    def name(self) -> str:
        """Of its checkpoint."""

    @property
    def pace(self) -> Pace:
        """How it goes easy on writers."""

    async def advance(self, connection: Connection) -> Advanced:
        """Take the next batch of what is settled, on the session that holds the lock.

        Raises CheckpointMoved when it does not, and CannotFollow, with nothing written.
        """


@dataclass(frozen=True, slots=True)
class Subscription:
    """One projection that follows the log."""

    name: str
    """Of the projection, and of its table."""
    known_types: frozenset[str]
    """Wire types that it can take."""
    write: Callable[[Connection, int, int], Awaitable[None]]
    """Write the rows of all events behind one position and up to another, in a transaction."""
    compare: Callable[[Connection, int], Awaitable[Compared]]
    """Compare the table with the log, and name so many differences at most."""
    write_beside: Callable[[Connection, int, int], Awaitable[None]]
    """As `write`, into the table that is being made anew (see `table.beside`)."""
    digests_beside: Callable[[Connection, int], Awaitable[tuple[Digest, Digest]]]
    """Digest the live table and the one beside, both up to a position."""
    key: str
    """The column of the table's primary key."""
    columns: tuple[str, ...]
    """All of the table's."""
    carry: None = None
    """There is nothing in the table that is no fold."""
    pace: Pace = _PACE

    async def advance(self, connection: Connection) -> Advanced:
        """Take the next batch; see Follower."""
        return await advance(connection, self)


async def advance(
    connection: Connection, subscription: Subscription, events_each: int = EVENTS_EACH
) -> Advanced:
    """Take the next batch of what is settled; `connection` is the session that holds the lock.

    Raises CheckpointMoved when it does not, with nothing written.
    """
    name = subscription.name
    after = await checkpoints.position(connection, name)
    settled = await safe_position(connection, after)
    if settled <= after:
        return Advanced(after, is_behind=False, stopped_by=None)
    found = await connection.fetchrow(
        _NEXT, after, settled, events_each, sorted(subscription.known_types)
    )
    assert found is not None  # noqa: S101  a SELECT without FROM has one row
    until = after if found["until"] is None else found["until"]
    if until > after:
        async with connection.transaction():
            await subscription.write(connection, after, until)
            await checkpoints.move(connection, name, after, until)
    if found["unknown_position"] is None:
        return Advanced(until, is_behind=until < settled, stopped_by=None)
    unknown = UnknownType(found["unknown_position"], found["unknown_type"])
    await checkpoints.stop(connection, name, *unknown)
    return Advanced(until, is_behind=False, stopped_by=unknown)
