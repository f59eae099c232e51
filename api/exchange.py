"""What is known of a request while it is answered: for its headers, its log line, its metrics."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from starlette.types import Scope

from reactorcide.eventstore.ids import new_id

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KEY: Final = "reactorcide.exchange"


@dataclass(slots=True)
class Exchange:
    """One request and its answer, from first byte to last."""

    request_id: str
    correlation_id: UUID
    """Shared by everything that follows from the request."""
    given: Mapping[bytes, bytes]
    """The request's headers; of one that is given twice, the first."""
    started: float = field(default_factory=time.perf_counter)
    operation: str = "unknown"
    """The operation's name; `unknown` where none was found."""
    wanted: str = "unknown"
    """The operation's name as soon as method and path say it, whoever asks."""
    is_quiet: bool = False
    """Asked all the time by machines: not worth a line."""
    caller: Mapping[str, str] = field(default_factory=dict)
    """The ids of user and token, once they are known."""
    ip: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the answer, whatever it will be."""
    status: int = 0

    def bound(self) -> dict[str, Any]:
        """Return what a log line about it says."""
        return {
            "request_id": self.request_id,
            "operation": self.operation,
            "ip": self.ip,
            **self.caller,
        }


def open_exchange(scope: Scope) -> Exchange:
    """Begin an exchange: with the caller's request id if it is usable, else a new one."""
    own = new_id()
    given = dict(reversed(scope["headers"]))
    asked = given.get(b"x-request-id", b"")
    request_id = asked.decode("ascii") if REQUEST_ID.fullmatch(asked) else str(own)
    exchange = Exchange(request_id, own, given)
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange that was opened for this request."""
    found = scope[_KEY]
    if not isinstance(found, Exchange):
        raise TypeError(_KEY)
    return found
