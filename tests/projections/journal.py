"""Short ways to record what a test needs: commands go through the real rules and the real log."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.events import JobEvent, JobSubmitted
from reactorcide.eventstore.domain.job import (
    JOB,
    ClaimJob,
    Completed,
    FinishAttempt,
    JobCommand,
    JobState,
    Outcome,
    QueueJob,
    StartJob,
    SubmitJob,
)
from reactorcide.eventstore.handle import Handled, TransactionDoor, handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import job_rows

OWNER: Final = UUID("018f0000-0000-7000-8000-000000000001")
WORKER: Final = UUID("018f0000-0000-7000-8000-0000000000aa")


def now() -> datetime:
    """Return a time at which everything is due that is due by the database's clock."""
    return datetime.now(UTC)


class Journal:
    """Issues commands to jobs on one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.door = TransactionDoor[JobState](connection, job_rows.rows)

    async def tell(self, job_id: UUID, command: JobCommand) -> Handled[JobState, JobEvent]:
        """Issue one command."""
        return await handle(self.connection, self.door, JOB, job_id, command, SYSTEM)

    async def submit(self, *, waits: bool = False, **fields: Any) -> UUID:
        """Submit a job; `fields` as in JobSubmitted."""
        job_id = new_id()
        defaults = {"user_id": OWNER, "name": "job", "job_command": "true"}
        submitted = JobSubmitted(**defaults | fields)
        await self.tell(job_id, SubmitJob(submitted, now(), waits=waits))
        return job_id

    async def claim(self, job_id: UUID, lease_seconds: float = 15) -> int:
        """Claim and start a job; return the number of the attempt."""
        claimed = await self.tell(job_id, ClaimJob(WORKER, lease_seconds, now()))
        await self.tell(job_id, StartJob(claimed.state.attempt))
        return claimed.state.attempt

    async def finish(self, job_id: UUID, outcome: Outcome | None = None) -> None:
        """Claim, start and end a job; completed unless told otherwise."""
        attempt = await self.claim(job_id)
        await self.tell(job_id, FinishAttempt(attempt, outcome or Completed(), now(), 0))

    async def queue(self, job_id: UUID, *completed: UUID) -> None:
        """Let a waiting job be claimed."""
        await self.tell(job_id, QueueJob(now(), frozenset(completed)))


async def row_of(connection: Connection, job_id: UUID) -> Mapping[str, Any]:
    """Return the raw row of a job, deleted or not."""
    row = await connection.fetchrow("SELECT * FROM jobs WHERE job_id = $1", job_id)
    assert row is not None
    return dict(row)
