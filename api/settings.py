"""What one API process is told at its start. Built in an entry point, passed down."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from reactorcide.api.client_address import Network
from reactorcide.api.limits import Rate

DEFAULT_RATE: Final = Rate(6000, 60)
FAILURES_RATE: Final = Rate(60, 60)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Everything that an API process reads from outside."""

    database_uri: str
    secret_key: bytes
    """32 bytes: secret values are sealed with it."""
    log_key: bytes | None = None
    """32 bytes: checkpoints of the log are signed with it. None: this process seals nothing."""
    rate_limit: Rate | None = DEFAULT_RATE
    """For each token; None: no limit."""
    failures_limit: Rate = FAILURES_RATE
    """Failed authentications for each address."""
    trusted_proxies: tuple[Network, ...] = ()
    head_seconds: float = 10
    body_seconds: float = 30
    accesses_seconds: float = 60
    """How often it is recorded who was turned away, and who read what of others."""
    trail_patience_seconds: float = 0.5
    """How long a question waits for the audit trail to catch up."""
    heartbeat_seconds: float = 15
    """Between signs of life on a stream that has nothing to say."""
    stream_buffer_bytes: int = 4 * 1024 * 1024
    """What is kept for a client that reads a stream of events too slowly."""
    stalled_seconds: float = 30
    """After so long a client that takes nothing of its answer is cut off."""
    pool_size: int = 10
    object_store_url: str = "memory://"
    """Where logs and artifacts are kept."""
    appender_connections: int = 1
    """More write at the same time, but less together: with 16 callers one was 20 % faster."""


def code_version() -> str:
    """Return the version of this program."""
    return version("reactorcide")
