"""Who was turned away and who read what of others: counted in memory, by caller and kind.

A table of bounded size: what comes when it is full is counted together. It holds no token and no
text of one, and it knows no clock and no database: who owns it takes what was counted and records
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Network
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from reactorcide.eventstore.domain.events import (
    AccessArtifactRead,
    AccessDenied,
    AccessEvent,
    AccessLogRead,
    AccessRefused,
    DeniedReason,
    RefusedReason,
)
from reactorcide.eventstore.record import Context

Reason: TypeAlias = DeniedReason | RefusedReason
Part: TypeAlias = Literal["log", "artifacts"]

_REFUSED: Final = frozenset({"conflict", "precondition_failed", "precondition_required"})
_OPERATIONS: Final = 10
_NETWORK_BITS: Final = 64
"""Of an IPv6 address: whoever has one has all of its network's."""

Kind: TypeAlias = type[AccessEvent]


class Attempt(NamedTuple):
    """One request, as far as it is counted."""

    context: Context
    """With an actor of type `anonymous` when nobody knows who asked."""
    operation: str
    at: datetime


class Bounds(NamedTuple):
    """How many callers are told apart between two takes; of what comes then all are one."""

    users: int = 400
    """With a token that holds; each token and address counts as one."""
    addresses: int = 100
    """Without one. An attack may come from many, so this bounds what it leaves in the log."""
    reads: int = 10_000


@dataclass(slots=True)
class _Counted:
    context: Context
    first_at: datetime
    last_at: datetime
    fields: dict[str, Any]
    count: int = 0
    operations: dict[str, None] = field(default_factory=dict)

    def add(self, attempt: Attempt) -> None:
        self.count += 1
        self.last_at = max(self.last_at, attempt.at)  # a clock may be set back
        if len(self.operations) < _OPERATIONS:
            self.operations[attempt.operation] = None


class _Key(NamedTuple):
    kind: Kind
    what: Reason | UUID
    """The reason, or the job that was read."""
    token_id: UUID | None
    place: str | None
    """Address or network."""
    is_known: bool


class AccessCounts:
    """What was counted since it was taken last."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._counted: dict[_Key, _Counted] = {}
        self._users = self._addresses = self._reads = 0
        self.reads_lost = 0
        """Reads that found no room; what they read is not known any more."""

    def __len__(self) -> int:
        return len(self._counted)

    def unserved(self, reason: Reason, attempt: Attempt) -> None:
        """Count a request that came to nothing."""
        kind: Kind = AccessRefused if reason in _REFUSED else AccessDenied
        context = attempt.context
        is_known = context.actor_type != "anonymous"
        network = None if is_known else _network_of(context.ip)
        key = _Key(kind, reason, context.token_id, network or context.ip, is_known)
        counted = self._counted.get(key)
        if counted is None:
            is_rest = not self._has_room(is_known=is_known)
            if is_rest:
                key = _Key(kind, reason, None, None, is_known)
                attempt = attempt._replace(context=_of_many(context))
            fields = {"reason": reason, "network": None if is_rest else network, "is_rest": is_rest}
            counted = self._counted.get(key) or self._new(key, attempt, fields)
        counted.add(attempt)

    def read(self, part: Part, job_id: UUID, attempt: Attempt) -> None:
        """Count a read of what a job of somebody else's said or left."""
        kind: Kind = AccessLogRead if part == "log" else AccessArtifactRead
        context = attempt.context
        key = _Key(kind, job_id, context.token_id, context.ip, is_known=True)
        counted = self._counted.get(key)
        if counted is None:
            if self._reads >= self._bounds.reads:
                self.reads_lost += 1
                return
            self._reads += 1
            counted = self._new(key, attempt, {"job_id": job_id})
        counted.add(attempt)

    def take(self) -> list[tuple[AccessEvent, Context]]:
        """Return what was counted, each with who did it, and begin anew."""
        taken, self._counted = self._counted, {}
        self._users = self._addresses = self._reads = self.reads_lost = 0
        return [(_event_of(key.kind, one), one.context) for key, one in taken.items()]

    def _has_room(self, *, is_known: bool) -> bool:
        """Tell whether one more caller can be told apart; then it has taken the room."""
        if is_known:
            self._users += 1
            return self._users <= self._bounds.users
        self._addresses += 1
        return self._addresses <= self._bounds.addresses

    def _new(self, key: _Key, attempt: Attempt, fields: dict[str, Any]) -> _Counted:
        counted = _Counted(attempt.context, attempt.at, attempt.at, fields)
        self._counted[key] = counted
        return counted


def _event_of(kind: Kind, counted: _Counted) -> AccessEvent:
    operations: Sequence[str] = tuple(counted.operations)
    return kind(
        count=counted.count,
        first_at=counted.first_at,
        last_at=counted.last_at,
        operations=operations,
        **counted.fields,
    )


def _of_many(first: Context) -> Context:
    """Return who many are: what is known of the first one is the request alone."""
    return Context(
        actor_type=first.actor_type,
        request_id=first.request_id,
        correlation_id=first.correlation_id,
    )


def _network_of(ip: str | None) -> str | None:
    """Return the network that counts as one with an address; None for the address alone."""
    if ip is None or ":" not in ip:
        return None
    return str(IPv6Network((ip, _NETWORK_BITS), strict=False))
