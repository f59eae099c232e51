"""Who may do what: roles, scopes, and what one may hand on in a new token.

Which object belongs to whom is the API's to know; this says what an answer hangs on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

from reactorcide.eventstore.domain.errors import NotGranted

Role: TypeAlias = Literal["user", "auditor", "operator", "admin"]
"""`user`: own jobs; `auditor`: reads everything; `operator`: every job; `admin`: everything."""

Scope: TypeAlias = Literal[
    "jobs:read",
    "jobs:write",
    "logs:read",
    "artifacts:read",
    "tokens:manage",
    "users:manage",
    "queues:manage",
    "workers:manage",
    "schedules:manage",
    "webhooks:manage",
    "secrets:manage",
    "projections:manage",
    "audit:read",
    "audit:redact",
]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_READ: Final = frozenset({"jobs:read", "logs:read", "artifacts:read"})
_OWN: Final = _READ | {
    "jobs:write",
    "tokens:manage",
    "schedules:manage",
    "webhooks:manage",
    "secrets:manage",
}

ROLE_SCOPES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "user": _OWN,
        "auditor": _READ | {"audit:read"},
        "operator": _OWN | {"queues:manage", "workers:manage"},
        "admin": frozenset(SCOPES),
    }
)

DEFAULT_TOKEN_LIFE: Final = timedelta(days=90)
LONGEST_TOKEN_LIFE: Final = timedelta(days=365)


def scopes_of(roles: Iterable[str], token_scopes: Iterable[str] | None) -> frozenset[str]:
    """Return what a token opens: what its owner's roles allow, narrowed by its own scopes.

    `token_scopes` None narrows nothing. A role that is unknown allows nothing.
    """
    allowed = frozenset[str]().union(*(ROLE_SCOPES.get(role, frozenset()) for role in roles))
    return allowed if token_scopes is None else allowed.intersection(token_scopes)


def in_order(roles: Iterable[str]) -> tuple[str, ...]:
    """Return each of `roles` once, in the order of ROLES; unknown ones are left out."""
    wanted = frozenset(roles)
    return tuple(role for role in ROLES if role in wanted)


@dataclass(frozen=True, slots=True)
class Giver:
    """Who makes a token."""

    user_id: UUID
    roles: tuple[str, ...]
    scopes: frozenset[str]
    """What the token in its hand opens (`scopes_of`)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new token would be able to do, and for whom."""

    owner_id: UUID
    owner_roles: tuple[str, ...]
    scopes: tuple[str, ...] | None
    """None: all that the owner's roles allow."""
    expires_at: datetime | None
    """None: never."""


def check_grant(giver: Giver, grant: Grant) -> None:
    """Raise NotGranted unless `giver` may hand on `grant`: never more than it has itself."""
    is_admin = "admin" in giver.roles
    if grant.owner_id != giver.user_id and not is_admin:
        raise NotGranted(what="only an admin makes tokens for others")
    if grant.expires_at is None and not is_admin:
        raise NotGranted(what="only an admin makes tokens that never expire")
    owner_scopes = scopes_of(grant.owner_roles, None)
    asked = owner_scopes if grant.scopes is None else frozenset(grant.scopes)
    wider = asked - (owner_scopes & giver.scopes)
    if wider:
        raise NotGranted(what=f"may not give {' '.join(sorted(wider))}")
