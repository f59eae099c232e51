"""The rules of a user: registered, given roles, deactivated.

Whether a name or address is free is the database's to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from reactorcide.eventstore.domain.access import in_order
from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import (
    UserDeactivated,
    UserEvent,
    UserRegistered,
    UserRolesChanged,
)


class UserStatus(StrEnum):
    """Where a user stands."""

    NONE = "none"
    ACTIVE = "active"
    INACTIVE = "inactive"


TRANSITIONS: Final[Mapping[UserStatus, Mapping[type[UserEvent], UserStatus]]] = MappingProxyType(
    {
        UserStatus.NONE: {UserRegistered: UserStatus.ACTIVE},
        UserStatus.ACTIVE: {
            UserRolesChanged: UserStatus.ACTIVE,
            UserDeactivated: UserStatus.INACTIVE,
        },
        UserStatus.INACTIVE: {},
    }
)


@dataclass(frozen=True, slots=True)
class UserState:
    """What the rules need to know of a user."""

    status: UserStatus = UserStatus.NONE
    registered: UserRegistered | None = None
    """None only before the first event."""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """Make the user."""

    username: str
    email: str | None = None
    roles: tuple[str, ...] = ("user",)


@dataclass(frozen=True, slots=True)
class ChangeRoles:
    """Give the user these roles and no others. The same ones again add nothing."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeactivateUser:
    """Let the user do nothing from now on. Repeating it adds nothing."""


UserCommand: TypeAlias = RegisterUser | ChangeRoles | DeactivateUser


def decide(state: UserState, command: UserCommand) -> tuple[UserEvent, ...]:
    """Return the events that `command` adds; () when it is already so.

    Raises NotFound for a user that is not there, NotLegal with its status.
    """
    match command:
        case RegisterUser():
            return _register(state, command)
        case ChangeRoles():
            return _change_roles(state, in_order(command.roles))
        case DeactivateUser():
            _known(state)
            return (UserDeactivated(),) if UserDeactivated in TRANSITIONS[state.status] else ()
        case _:
            assert_never(command)


def _register(state: UserState, command: RegisterUser) -> tuple[UserEvent, ...]:
    registered = UserRegistered(
        username=command.username, email=command.email, roles=in_order(command.roles)
    )
    if state.registered == registered:
        return ()
    if UserRegistered not in TRANSITIONS[state.status]:
        raise NotLegal(detail="the id belongs to another user", current_status=state.status)
    return (registered,)


def _change_roles(state: UserState, roles: tuple[str, ...]) -> tuple[UserEvent, ...]:
    _known(state)
    if UserRolesChanged not in TRANSITIONS[state.status]:
        raise NotLegal(
            detail=f"a user that is {state.status} has no roles to change",
            current_status=state.status,
        )
    return () if state.roles == roles else (UserRolesChanged(roles=roles),)


def _known(state: UserState) -> None:
    if state.status is UserStatus.NONE:
        raise NotFound(kind="user")


def evolve(state: UserState, event: UserEvent) -> UserState:
    """Return the state after `event`."""
    try:
        status = TRANSITIONS[state.status][type(event)]
    except KeyError:
        raise IllegalTransition(
            stream_type="user", status=state.status, event_type=event.wire_type
        ) from None
    match event:
        case UserRegistered():
            return UserState(status, event, event.roles)
        case UserRolesChanged():
            return replace(state, status=status, roles=event.roles)
        case UserDeactivated():
            return replace(state, status=status)
        case _:
            assert_never(event)


USER: Final = Decider("user", UserState(), decide, evolve)
