"""What a worker may claim next, of table `jobs`: suggestions, and no more. Writes nothing.

No rule lives here, and nobody is told what another is told: the log decides who gets a job.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
from pydantic_core import from_json, to_json

from reactorcide.eventstore.codec import Encoded
from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JobState, Status
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import new
from reactorcide.projections import jobs
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)


class Share(NamedTuple):
    """Which of the claimable jobs a worker looks at while others claim from the same queues.

    Those whose id hashes to `rank` of `of`, by a hash that `salt` chooses; all when `of` is 1.
    """

    of: int = 1
    rank: int = 0
    salt: int = 0


ALL: Final = Share()


class Suggested(NamedTuple):
    """A job that may be claimed, as far as a worker needs to know it."""

    job_id: UUID
    version: int
    state: JobState
    """Alike jobs share it, and so it may come without the args of the request."""
    args: str | None
    """These then, as JSON; None: the request is whole."""

    @property
    def submitted(self) -> JobSubmitted:
        """What was asked for, all but `args`."""
        submitted = self.state.submitted
        assert submitted is not None  # noqa: S101  a job begins with job.submitted
        return submitted


async def claimable(  # noqa: PLR0913, PLR0917  where to look, for whom, and how far
    connection: "Reader | Lane",
    queues: Sequence[str],
    labels: str,
    limit: int,
    share: Share = ALL,
    after: tuple[int, UUID] | None = None,
) -> list[Suggested]:
    """Return what a worker with these labels may claim next, best priority first, then oldest.

    A suggestion: the log decides who gets it. `labels` is a JSON object. `after`, the priority
    and id of a job, goes on from there: it leaves out what was seen, what has come ahead of it
    since, and what waited for a retry.
    """
    keys = (queues, labels, limit, *share)
    if after is None:
        found = await connection.fetch(SQL["claimable"], *keys)
    else:
        found = await connection.fetch(SQL["claimable_after"], *keys, *after)
    return _suggested(found)


class Aged(NamedTuple):
    """What has waited long: the ids before one, the retries due before a time, below a priority."""

    before_id: UUID
    below: int
    before: datetime


async def claimable_aged(  # noqa: PLR0913, PLR0917  as `claimable`
    connection: Reader,
    queues: Sequence[str],
    labels: str,
    limit: int,
    aged: Aged,
    share: Share = ALL,
) -> list[Suggested]:
    """Return what a worker may claim next of jobs that have waited long, the oldest first."""
    found = await connection.fetch(SQL["claimable_aged"], queues, labels, limit, *aged, *share)
    return _suggested(found)


class FirstClaimed(NamedTuple):
    """What a claim without a look came to; see `job_rows.FIRST`."""

    jobs: list[Suggested]
    """As they stood, at the versions that they have now; best priority first, then oldest."""
    chosen: int
    """How many came first, claimed or not; one more when a retry is due."""
    recorded_at: datetime


def first_claimed(rows: Sequence[asyncpg.Record]) -> FirstClaimed | None:
    """Return what the rows of `job_rows.FIRST` hold; None: the log refused it."""
    if not rows:
        return None
    job_id, *_, recorded_at, chosen = rows[0]
    return FirstClaimed([] if job_id is None else _suggested(rows), chosen, recorded_at)


def _suggested(rows: Sequence[asyncpg.Record]) -> list[Suggested]:
    """Return what rows begin with, as those of `claimable` do; what follows is the caller's.

    Of those that ask for the same, one is looked up.
    """
    suggested: list[Suggested] = []
    known, known_schema, known_data = None, 0, ""
    for row in rows:
        job_id, version, tried, _, schema_version, data, args = found = row[:_COLUMNS]
        if data != known_data or schema_version != known_schema:
            known = _known_states.get((schema_version, data))
            known_schema, known_data = schema_version, data
        if known is None or tried is not None:
            suggested.append(_queued(*found))
            known_data = ""  # it may be known now
        else:
            suggested.append(new(Suggested, (job_id, version, known, args)))
    return suggested


def _queued(  # noqa: PLR0913, PLR0917  the columns of a row, by position: by name takes longer
    job_id: UUID,
    version: int,
    tried: tuple[Any, ...] | None,
    position: int,
    schema_version: int,
    data: str,
    args: str | None,
) -> Suggested:
    """Return the job that such a row holds."""
    state = _known_states.get((schema_version, data))
    if state is None:
        first = Encoded(position, JobSubmitted.wire_type, schema_version, data)
        state, args = _first_state(first, args)
    if tried is not None:
        attempt, failures, lost_leases, available_at, *ended = tried
        attempts = attempt, failures, lost_leases
        state = new(JobState, (*state[:2], *attempts, None, available_at, None, *ended, None))
    return new(Suggested, (job_id, version, state, args))


def _first_state(first: Encoded, args: str | None) -> tuple[JobState, str | None]:
    """Return a job that nobody has tried yet, and what its request comes without.

    One state for all whose requests are alike but for the args.
    """
    if first.schema_version != JobSubmitted.schema_version:  # an upcaster sees the request whole
        whole = from_json(first.data) | ({} if args is None else {"args": from_json(args)})
        first = first._replace(data=to_json(whole).decode())
        return JobState(Status.QUEUED, jobs.decoded(first)), None
    state = JobState(Status.QUEUED, jobs.decoded(first))
    if len(first.data) <= _KEPT_CHARACTERS:
        if len(_known_states) >= _KEPT:
            _known_states.clear()
        _known_states[first.schema_version, first.data] = state
    return state, args


_COLUMNS: Final = 7
_known_states: Final[dict[tuple[int, str], JobState]] = {}
_KEPT: Final = 500
_KEPT_CHARACTERS: Final = 2000
