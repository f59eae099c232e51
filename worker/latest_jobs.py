"""From where on each queue and priority is looked at when to look from the top is dear.

Where somebody keeps vacuum from taking what is gone, a look from the top walks over all jobs of the
last minutes. What came lately is behind those that were claimed last: ids ascend with time, nearly.
Pure; what this passes over is found by the next look from the top.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

from reactorcide.projections.job_suggestions import Suggested

_MOST: Final = 64
"""So many are known at a time: each costs a probe of the index."""
_MARGIN_MS: Final = 500
"""So much earlier may a job have got its id that is in the table later: clocks differ, and commits
take their time."""
_TIME_BITS: Final = 80
"""An id's time is above these (UUIDv7, RFC 9562): milliseconds."""


class Latest(NamedTuple):
    """Queues and priorities, and of each the id to begin behind; as long as each other."""

    queues: list[str]
    priorities: list[int]
    after: list[UUID]


class LatestJobs:
    """The newest jobs that one worker has claimed, one of each queue and priority."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, int], UUID] = {}

    def __bool__(self) -> bool:
        """Whether any are known."""
        return bool(self._newest)

    def learn(self, claimed: Iterable[Suggested]) -> None:
        """Take note of jobs; too many queues and priorities are forgotten, all of them."""
        for one in claimed:
            kind = one.submitted.queue_name, one.submitted.priority
            known = self._newest.get(kind)
            if known is None or known < one.job_id:
                self._newest[kind] = one.job_id
        if len(self._newest) > _MOST:
            self._newest.clear()

    def begin(self) -> Latest:
        """Return where to begin: a little before the newest."""
        queues = [queue for queue, _ in self._newest]
        priorities = [priority for _, priority in self._newest]
        return Latest(queues, priorities, [_earlier(one) for one in self._newest.values()])


def _earlier(job_id: UUID) -> UUID:
    return UUID(int=max((job_id.int >> _TIME_BITS) - _MARGIN_MS, 0) << _TIME_BITS)
