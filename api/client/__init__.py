"""The client of the API for Python programs: `Client`, and `AsyncClient` for asyncio.

Speaks HTTP alone and imports nothing of the server. Programs are the core (`calls`, `asking`,
`following`); `blocking` and `awaiting` only carry out their steps.
"""

from reactorcide.api.client.awaiting import AsyncClient
from reactorcide.api.client.blocking import Client
from reactorcide.api.client.errors import (
    ClientError,
    Conflict,
    Flaw,
    Forbidden,
    InvalidInput,
    NotAuthenticated,
    NotEnded,
    NotFound,
    NotUnderstood,
    RateLimited,
    Refused,
    Unavailable,
)
from reactorcide.api.client.models import (
    Actor,
    Artifact,
    Event,
    Job,
    JobFilter,
    JobRequest,
    LogFrame,
    Me,
    TokenInHand,
    User,
)

__all__ = [
    "Actor",
    "Artifact",
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Event",
    "Flaw",
    "Forbidden",
    "InvalidInput",
    "Job",
    "JobFilter",
    "JobRequest",
    "LogFrame",
    "Me",
    "NotAuthenticated",
    "NotEnded",
    "NotFound",
    "NotUnderstood",
    "RateLimited",
    "Refused",
    "TokenInHand",
    "Unavailable",
    "User",
]
