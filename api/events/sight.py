"""Which events a caller may see. Pure: asks nobody.

A plain user sees what happens to itself, to its jobs and to its tokens; an operator besides that
every job and every worker; an auditor and an admin everything. Each as far as the token's scopes
go: jobs and workers need `jobs:read`, own tokens `tokens:manage`, everything `audit:read`.
"""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from reactorcide.api.call import Caller
from reactorcide.eventstore.record import RecordedEvent


@dataclass(frozen=True, slots=True)
class Sight:
    """What of the log one caller sees."""

    user_id: UUID
    everything: bool = False
    every_job: bool = False
    every_worker: bool = False
    own_jobs: bool = False
    own_tokens: bool = False

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """Return what a caller sees by its roles and scopes."""
        reads_jobs = "jobs:read" in caller.scopes
        return cls(
            caller.user_id,
            everything="audit:read" in caller.scopes,  # auditors' and admins' alone
            every_job=reads_jobs and caller.sees_every_job,
            every_worker=reads_jobs and caller.commands_every_job,
            own_jobs=reads_jobs,
            own_tokens="tokens:manage" in caller.scopes,
        )

    @property
    def needs_owners(self) -> bool:
        """Whether it can't tell without knowing whose a stream is."""
        return not self.everything

    def sees(self, event: RecordedEvent, owner_id: UUID | None) -> bool:
        """Tell whether an event of a stream that is `owner_id`'s may be seen."""
        if self.everything:
            return True
        is_own = owner_id == self.user_id
        match event.stream_type:
            case "job":
                return self.every_job or (self.own_jobs and is_own)
            case "token":
                return self.own_tokens and is_own
            case "user":
                return event.stream_id == self.user_id
            case "worker":
                return self.every_worker
            case _:  # access reports, and a newer version's, of which nobody has said who may
                return False
