"""What an append writes into table `jobs`, in its own statement.

A claim opens the attempt's lease; what ends the attempt closes it. The frequent changes have
statements of their own; `jobs` says what a row is and reads it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from reactorcide.eventstore.alike import Alike
from reactorcide.eventstore.append_columns import ids, same_in
from reactorcide.eventstore.append_sql import FIRST_OF_FRESH_ROWS, FIRST_OF_ROWS, narrowed
from reactorcide.eventstore.domain.events import (
    Event,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobStarted,
)
from reactorcide.eventstore.domain.job import HELD, JobState, Status
from reactorcide.eventstore.guard_sql import EVENT_ID, Choice, Guard
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.inline_rows import Announced, FreshRows, GuardedRows, InlineRows, Rows
from reactorcide.eventstore.record import Row
from reactorcide.projections.jobs import ENDING, changing, constant
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

Likewise: TypeAlias = Callable[[JobState, JobState], JobState]
_READY: Final = "into_ready"
_WAITING: Final = frozenset({Status.SUBMITTED, Status.QUEUED})

ANNOUNCED: Final = Announced(("jobs", "events"), "submit_and_ring")
"""Of jobs that may run."""

_CLAIMED: Final = SQL["claim_rows"].format(
    status="claimed", version="version", started_at="NULL", worker=17, seconds=18
)
CLAIM: Final = Guard(SQL["claim_standing"], _CLAIMED, (("attempt", "int"),))
CLAIM_STARTED: Final = Guard(
    SQL["claim_standing"],
    SQL["claim_rows"].format(
        status="running", version="version + 1", started_at="now()", worker=18, seconds=19
    ),
    (("attempt", "int"), ("then_data", "jsonb")),
    (JobStarted.wire_type, JobStarted.schema_version),
)
_FIRST: Final = SQL["first_standing"].format(event_id=EVENT_ID), _CLAIMED, SQL["first_result"]
FIRST: Final = Choice(SQL["first_chosen"], *_FIRST)
"""A claim of the jobs that come first, without a look before: the parameters are the queues, the
labels as JSON, how many at most, the worker and the seconds of the lease."""
FIRST_OF_ONE: Final = Choice(SQL["first_chosen_of_one"], *_FIRST)
"""The same of one queue."""
FIRST_AFTER: Final = Choice(SQL["first_chosen_after"], *_FIRST)
"""The same of one queue, of what comes after a job: its priority and its id are further parameters.
"""
FIRST_LATELY: Final = Choice(SQL["first_chosen_lately"], *_FIRST)
"""The same of what comes after some jobs, each in its queue and priority: the priorities and the
ids of these are further parameters, as long as the queues."""
START: Final = Guard(SQL["start_standing"], SQL["start_rows"])
COMPLETE: Final = Guard(
    SQL["complete_standing"], SQL["complete_rows"], (("exit_code", "int"), ("result", "jsonb"))
)


def rows(changes: Sequence[Change[JobState]]) -> Rows:  # noqa: PLR0911  one for each kind
    """Return what the append of these changes writes, in their order: rows of `jobs`.

    A claim opens the attempt's lease; what ends the attempt closes it. What workers write most,
    the claims, starts or completions of jobs that are there, is guarded by the rows themselves.
    Several changes at once belong in the order of their ids, on a writer's connection: its plans
    lock the rows in the order that they are given in.
    """
    kinds = {kind_of(change) for change in changes}
    if len(kinds) > 1:
        return _any_rows(changes)
    match kinds.pop():
        case Status.QUEUED:
            return _new_rows(_READY, changes)
        case Status.SUBMITTED:
            return _new_rows("into_waiting", changes)
        case "claimed":
            return _claimed_rows(changes)
        case "started":
            return GuardedRows(START, (), lambda: _any_rows(changes))
        case "completed":
            return _completed_rows(changes)
        case _:
            return _any_rows(changes)


def rows_to_many(alike: Alike[JobState], likewise: Likewise) -> GuardedRows:
    """Return the same for jobs of which one event is all there is to say: claim, start, end.

    Or two: a claim and the start that follows at once.
    """
    event, then = alike.event, alike.append.then

    def otherwise() -> InlineRows:
        return _any_rows(alike.changes(likewise))

    match event:
        case JobClaimed() if then is not None:
            holder = event.worker_id, event.lease_seconds
            return GuardedRows(CLAIM_STARTED, (event.attempt, then.data, *holder), otherwise)
        case JobClaimed():
            arguments = event.attempt, event.worker_id, event.lease_seconds
            return GuardedRows(CLAIM, arguments, otherwise)
        case JobStarted():
            return GuardedRows(START, (), otherwise)
        case JobCompleted():
            model = alike.models[0]
            return GuardedRows(COMPLETE, (model.exit_code, model.result), otherwise)
        case _:
            msg = f"{event.wire_type} has no guard"
            raise ValueError(msg)


def kind_of(change: Change[JobState]) -> str | None:
    """Say which of the frequent changes this is, None for any other."""
    events, state = change.events, change.state
    if change.version == len(events):
        return state.status if not state.attempt and state.status in _WAITING else None
    return _FREQUENT.get(type(events[0])) if len(events) == 1 else None


_FREQUENT: Final[Mapping[type[Event], str]] = {
    JobClaimed: "claimed",
    JobStarted: "started",
    JobCompleted: "completed",
}


def _claimed_rows(changes: Sequence[Change[JobState]]) -> Rows:
    """Return the rows of claims; those of different workers are not written together."""
    (first,) = changes[0].events
    assert isinstance(first, JobClaimed)  # noqa: S101  as told by its kind
    holder = first.worker_id, first.lease_seconds
    attempts = []
    for change in changes:
        (event,) = change.events
        if not isinstance(event, JobClaimed) or (event.worker_id, event.lease_seconds) != holder:
            return _any_rows(changes)
        attempts.append(event.attempt)
    return GuardedRows(CLAIM, (attempts, *holder), lambda: _any_rows(changes), is_final=True)


def _completed_rows(changes: Sequence[Change[JobState]]) -> Rows:
    states = [change.state for change in changes]
    exit_codes, results = [s.exit_code for s in states], [s.result for s in states]
    return GuardedRows(COMPLETE, (exit_codes, results), lambda: _any_rows(changes))


def _any_rows(changes: Sequence[Change[JobState]]) -> InlineRows:
    """Return the rows of whatever changes."""
    ordered = sorted(changes, key=lambda change: change.stream_id)  # as all who lock rows here
    new = [change for change in ordered if change.version == len(change.events)]
    old = [change for change in ordered if change.version != len(change.events)]
    return InlineRows(
        SQL["inline"],
        (
            *_columns([(*_mutable(change), *constant(change.state)) for change in new], 24),
            *_columns([_mutable(change) for change in old], 17),
        ),
    )


NEW_COLUMNS: Final = (
    *(("job_id", "id"), ("version", "int"), ("user_id", "uuid"), ("name", "text")),
    *(("source_type", "text"), ("queue_name", "text"), ("priority", "int")),
    *(("unique_key", "text"), ("labels", "jsonb"), ("available_at", "timestamptz")),
)


def _new_rows(place: str, changes: Sequence[Change[JobState]]) -> InlineRows:
    """Return the rows of jobs just submitted; what all of them have in common is sent once."""
    same, arguments = _in_common(place, list(map(new_row, changes)))
    job_ids = ids(change.stream_id for change in changes)
    fresh = _fresh_rows(place, same, arguments, len(changes))
    return InlineRows(new_rows_sql(place, same), (job_ids, *arguments), fresh)


def new_row(change: Change[JobState]) -> Row:
    """Return what the row of a job just submitted holds beside its id: see NEW_COLUMNS."""
    return change.version, *constant(change.state), change.state.available_at


def rows_to_new(written: Sequence[Row]) -> FreshRows:
    """Return the rows of jobs that are queued since they were submitted; see `new_row`."""
    same, arguments = _in_common(_READY, written)
    return _fresh_rows(_READY, same, arguments, len(written), ANNOUNCED)


def _in_common(place: str, written: Sequence[Row]) -> tuple[frozenset[str], Row]:
    """Return the columns that have one value for all, and the columns as parameters."""
    names = [name for name, _ in _of(place)[1:]]
    first = written[0]
    if written.count(first) == len(written):
        return frozenset(names), first[: len(names)]
    columns = dict(zip(names, zip(*written, strict=True), strict=False))
    same = same_in(columns)
    return same, tuple(values[0] if name in same else values for name, values in columns.items())


def _fresh_rows(
    place: str,
    same: frozenset[str],
    arguments: tuple[Any, ...],
    count: int,
    announced: Announced | None = None,
) -> FreshRows:
    counts = (count,) if "queue_name" in same else ()
    return FreshRows(fresh_rows_sql(place, same), (*arguments, *counts), announced)


@cache
def new_rows_sql(place: str, same: frozenset[str]) -> str:
    """Return the fragment that puts new jobs into a place; see `append_sql.narrowed`."""
    numbered = [(name, nth, kind) for nth, (name, kind) in enumerate(_of(place), FIRST_OF_ROWS)]
    return f", new_rows AS ({narrowed(numbered, same)})" + SQL[place] + "\n" + SQL["new_as_held"]


@cache
def fresh_rows_sql(place: str, same: frozenset[str]) -> str:
    """Return the same for jobs that all are new, by the ids in `$1`: nothing is looked for.

    When they share a queue, their number follows the columns: nothing is counted either.
    """
    (job_id, kind), *columns = _of(place)
    numbers = {name: number for number, (name, _) in enumerate(columns, FIRST_OF_FRESH_ROWS)}
    numbered = [(job_id, 1, kind), *((name, numbers[name], kind) for name, kind in columns)]
    put = f", new_rows AS ({narrowed(numbered, same)})" + SQL[place]
    if "queue_name" not in same:
        return put + "\n" + SQL["new_all"]
    return put + SQL["new_known"].format(
        status="submitted" if place == "into_waiting" else "queued",
        queue=numbers["queue_name"],
        count=FIRST_OF_FRESH_ROWS + len(columns),
    )


def _of(place: str) -> tuple[tuple[str, str], ...]:
    """Return the columns that new jobs in a place have."""
    return NEW_COLUMNS if place == "into_waiting" else NEW_COLUMNS[:-1]


def _columns(values: Sequence[tuple[Any, ...]], width: int) -> Iterable[list[Any]]:
    """Turn rows into the arrays of an unnest, all empty without rows."""
    if not values:
        return [[] for _ in range(width)]
    return map(list, zip(*values, strict=True))


def _mutable(change: Change[JobState]) -> tuple[Any, ...]:
    """Return what may change in a job's row, which of its times are now, and the lease's."""
    state = change.state
    is_claimed = is_started = is_ended = is_cancel_asked = False
    lease_seconds = None
    for event in change.events:
        match event:
            case JobClaimed():
                is_claimed, is_started, lease_seconds = True, False, event.lease_seconds
            case JobStarted():
                is_started = True
            case JobCancelRequested():
                is_cancel_asked = True
            case _ if type(event) in ENDING:
                is_ended = True
            case _:
                pass
    return (
        change.stream_id,
        change.version,
        *changing(state),
        is_claimed,
        is_started,
        is_ended,
        is_cancel_asked,
        lease_seconds if state.status in HELD else None,
    )
