"""The rules of a token: issued, replaced, revoked.

A token's expiry is a time, not an event, and who may issue what is said in `access`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import (
    TokenEvent,
    TokenIssued,
    TokenRevoked,
    TokenRotated,
)


class TokenStatus(StrEnum):
    """Where a token stands."""

    NONE = "none"
    ACTIVE = "active"
    ROTATED = "rotated"
    """Replaced; holds until `valid_until`."""
    REVOKED = "revoked"


TRANSITIONS: Final[Mapping[TokenStatus, Mapping[type[TokenEvent], TokenStatus]]] = MappingProxyType(
    {
        TokenStatus.NONE: {TokenIssued: TokenStatus.ACTIVE},
        TokenStatus.ACTIVE: {
            TokenRotated: TokenStatus.ROTATED,
            TokenRevoked: TokenStatus.REVOKED,
        },
        TokenStatus.ROTATED: {TokenRevoked: TokenStatus.REVOKED},
        TokenStatus.REVOKED: {},
    }
)


@dataclass(frozen=True, slots=True)
class TokenState:
    """What the rules need to know of a token."""

    status: TokenStatus = TokenStatus.NONE
    issued: TokenIssued | None = None
    """None only before the first event."""
    successor_id: UUID | None = None
    valid_until: datetime | None = None
    """Its end by rotation; None when it was not replaced. `issued.expires_at` stands beside."""


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Make the token. Whether it may be given was asked of `access.check_grant`."""

    issued: TokenIssued


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Let the token open nothing from now on. Repeating it adds nothing."""


@dataclass(frozen=True, slots=True)
class RotateToken:
    """Replace the token by another; it holds until `valid_until`, or its own expiry if sooner."""

    successor_id: UUID
    valid_until: datetime


TokenCommand: TypeAlias = IssueToken | RevokeToken | RotateToken


def decide(state: TokenState, command: TokenCommand) -> tuple[TokenEvent, ...]:
    """Return the events that `command` adds; () when it is already so.

    Raises NotFound for a token that is not there, NotLegal with its status.
    """
    match command:
        case IssueToken(issued=issued):
            if state.issued == issued:
                return ()
            if TokenIssued not in TRANSITIONS[state.status]:
                raise NotLegal(
                    detail="the id belongs to another token", current_status=state.status
                )
            return (issued,)
        case RevokeToken():
            _known(state)
            return (TokenRevoked(),) if TokenRevoked in TRANSITIONS[state.status] else ()
        case RotateToken():
            return _rotate(state, command)
        case _:
            assert_never(command)


def _rotate(state: TokenState, command: RotateToken) -> tuple[TokenEvent, ...]:
    expires_at = _known(state).expires_at
    if state.successor_id == command.successor_id:
        return ()
    if TokenRotated not in TRANSITIONS[state.status]:
        raise NotLegal(
            detail=f"a token that is {state.status} cannot be rotated", current_status=state.status
        )
    until = command.valid_until if expires_at is None else min(expires_at, command.valid_until)
    return (TokenRotated(successor_id=command.successor_id, valid_until=until),)


def _known(state: TokenState) -> TokenIssued:
    if state.issued is None:
        raise NotFound(kind="token")
    return state.issued


def evolve(state: TokenState, event: TokenEvent) -> TokenState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="token", status=state.status, event_type=event.wire_type
        ) from None
    match event:
        case TokenIssued():
            return TokenState(status, event)
        case TokenRevoked():
            return replace(state, status=status)
        case TokenRotated():
            return replace(
                state,
                status=status,
                successor_id=event.successor_id,
                valid_until=event.valid_until,
            )
        case _:
            assert_never(event)


TOKEN: Final = Decider("token", TokenState(), decide, evolve)
