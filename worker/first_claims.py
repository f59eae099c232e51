"""Claims what comes first in the queue at once, without a look before, for a worker just woken.

One statement instead of two, on which a job waits that comes while there is nothing to do. It is
for jobs that never ran: the rules are asked once, since these all stand alike, and decide before
anybody knows for which. What else there may be is left to who looks.
"""

from datetime import datetime
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.eventstore import store
from reactorcide.eventstore.codec import encode
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JOB, ClaimJob, JobState
from reactorcide.eventstore.ids import NO_ID, new_ids
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import AppendToFound, Context
from reactorcide.projections import job_rows, job_suggestions
from reactorcide.projections.job_suggestions import Suggested
from reactorcide.worker.direct_errors import our_errors

_MOST: Final = 8
"""Where more have come, to look and to claim them together is as good."""


class FirstClaim(NamedTuple):
    """Which jobs were claimed, best first, and what there is to know of all of them."""

    found: list[Suggested]
    """As they stood, at the versions that they have now."""
    model: JobState
    """How they stand now, but for what was asked for."""
    has_more: bool
    recorded_at: datetime | None


class FirstClaims:
    """One worker's claims of this kind; one at a time."""

    def __init__(self, lane: Lane, context: Context, queues: tuple[str, ...], labels: str) -> None:
        self._lane = lane
        self._context = context
        self._queues = queues
        self._labels = labels

    async def claim(self, slots: int, command: ClaimJob) -> FirstClaim:
        """Claim up to `slots` jobs, a few at most."""
        before = _new_job()
        (event,) = JOB.decide(before, command)
        _, kind, schema_version, data = encode(NO_ID, event)
        most = min(slots, _MOST)
        event_ids = new_ids(most)
        append = AppendToFound(
            JOB.stream_type, kind, schema_version, data, self._context, event_ids
        )
        holder = command.worker_id, command.lease_seconds
        arguments = self._queues, self._labels, most, *holder
        with our_errors():
            rows = await self._lane.run(
                lambda connection: store.append_to_found(
                    connection, append, job_rows.FIRST, arguments
                )
            )
        found, chosen, recorded_at = job_suggestions.first_claimed(rows)
        has_more = len(found) == most or len(found) < chosen
        return FirstClaim(found, JOB.evolve(before, event), has_more, recorded_at)


@cache
def _new_job() -> JobState:
    """Return how a job stands that nothing holds back and nobody has claimed."""
    return JOB.evolve(JOB.initial, JobSubmitted(user_id=UUID(int=0), name="some"))
