"""What can be rebuilt from the log and verified against it: the inline tables, by name."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore.record import StreamType
from reactorcide.projections import jobs, tokens, users, workers
from reactorcide.projections.folding import Fact


class ByCourse(NamedTuple):
    """How a stream's row is made of its first event and a course that others have too."""

    like: Callable[[Any], Hashable | None]
    """What the course of a stream follows from beside the later events, by its first one; None
    when that is not all."""
    course: Callable[[Sequence[Any]], Any]
    """From all events of a stream to what is the same for all that went this way."""
    values: Callable[[UUID, Sequence[Any], Any, Any], tuple[Any, ...]]
    """From a stream's id, its events' times, the first event and the course to the row. A time
    is handed on as it is, or not at all."""
    constant: Callable[[Any], tuple[Any, ...]]
    """From the first event to the row's last columns: all that depend on it."""


@dataclass(frozen=True, slots=True)
class Projection:
    """One table that is a fold of the streams of one type: a row for each stream.

    It is inline: its rows are written with the append, so its table is always as new as the
    log. `values` is pure.
    """

    name: str
    """Of the projection, and of its table."""
    stream_type: StreamType
    key: str
    """The column that holds the stream's id; the table's primary key."""
    columns: tuple[str, ...]
    """All of the table's that are a fold, in the order of `values`; the key first."""
    values: Callable[[UUID, Sequence[Fact[Any]]], tuple[Any, ...]]
    """From a stream's id and its facts to the row."""
    carry: str | None = None
    """The statement that brings what is no fold from the live table (%1$I) into the rebuilt
    one (%2$I), under the lock of the swap."""
    by_course: ByCourse | None = None
    """Another way to the same row, for a rebuild of very many streams."""


_JOBS_BY_COURSE: Final = ByCourse(
    jobs.on_course, jobs.course, jobs.values_by_course, jobs.asked_for
)

REGISTRY: Final = (
    Projection(
        *("jobs", "job", "job_id", jobs.COLUMNS, jobs.values), jobs.SQL["carry"], _JOBS_BY_COURSE
    ),
    Projection("tokens", "token", "token_id", tokens.COLUMNS, tokens.values),
    Projection("users", "user", "user_id", users.COLUMNS, users.values),
    Projection("workers", "worker", "worker_id", workers.COLUMNS, workers.values),
)


class UnknownProjection(Exception):  # noqa: N818  named by what is so, like the rejections
    """There is no projection of this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        near = get_close_matches(name, known, 1)
        hint = f": did you mean {near[0]!r}?" if near else "."
        super().__init__(f"no projection {name!r}{hint} There are: {', '.join(known)}")
        self.name = name


def named(name: str) -> Projection:
    """Return a projection by its name. Raises UnknownProjection."""
    for projection in REGISTRY:
        if projection.name == name:
            return projection
    raise UnknownProjection(name, [projection.name for projection in REGISTRY])
