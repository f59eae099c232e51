"""What a projection hands to an append, to be written in its statement. Writes nothing.

Constant SQL and the values for it; what a row says is the projection's, how the statement is put
around it that of `append_sql` and `guard_sql`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from reactorcide.eventstore.doorbell import Topic
from reactorcide.eventstore.guard_sql import Guard
from reactorcide.eventstore.record import Row


@dataclass(frozen=True, slots=True)
class InlineRows:
    """What a projection writes in the same statement as the append.

    `sql` is a constant: `, name AS (INSERT …)` expressions that number their parameters from
    $17 and take only streams in `(SELECT stream_id FROM first)`: those whose append held.
    `arguments` are the values, one per parameter.
    """

    sql: str
    arguments: tuple[Any, ...]
    fresh: "FreshRows | None" = None
    """The same at less cost, where all the streams are new."""


@dataclass(frozen=True, slots=True)
class FreshRows:
    """What a projection writes of new streams when all of them, or none, get into the log.

    `sql` numbers its parameters from `append_sql.FIRST_OF_FRESH_ROWS`, has the streams' ids in `$1`
    (see `append_sql.array`), and need not look at `first`.
    """

    sql: str
    arguments: tuple[Any, ...]
    announced: "Announced | None" = None


class Announced(NamedTuple):
    """Who is to hear of new streams, and how the database itself tells of one."""

    topics: tuple[Topic, ...]
    procedure: str
    """It writes one stream as the statement does, from the same parameters and one to answer
    in, commits, and only then rings for these topics."""


@dataclass(frozen=True, slots=True)
class GuardedRows:
    """The same, with a guard. For appends of one event each, all by one actor and of one type.

    `arguments` are those of the guard's arrays, in the order of the appends, then its values.
    """

    guard: Guard
    arguments: tuple[Any, ...]
    otherwise: Callable[[], InlineRows]
    """What to write with the careful statement."""
    is_final: bool = False
    """The guard's no is enough: it was a suggestion's chance, and nobody will insist on it."""


Rows: TypeAlias = InlineRows | GuardedRows
RowsToNew: TypeAlias = Callable[[Sequence[Row]], FreshRows]
"""What a projection writes of new streams whose rows are these."""
