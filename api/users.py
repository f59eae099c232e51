"""Operations on users, and on the caller itself."""

from http import HTTPStatus
from typing import Any

from pydantic import Field
from starlette.responses import Response

from reactorcide.api import accounts
from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import not_found
from reactorcide.api.fields import Email, RequestModel, Role, Roles, Username
from reactorcide.api.pages import PageQuery, envelope
from reactorcide.eventstore.domain.user import (
    ChangeRoles,
    DeactivateUser,
    RegisterUser,
    UserCommand,
)
from reactorcide.projections import tokens, users
from reactorcide.projections.users import User


def _plain() -> list[Role]:
    return ["user"]


class UserRequest(RequestModel):
    """A user to be registered."""

    username: Username
    email: Email | None = None
    roles: Roles = Field(default_factory=_plain)


class RolesRequest(RequestModel):
    """All the roles that a user is to have."""

    roles: Roles


def render(user: User) -> dict[str, Any]:
    """Return a user as the API shows it."""
    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "is_active": user.is_active,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


async def register(call: Call[UserRequest, None]) -> Response:
    """Register a user."""
    asked = call.body
    command = RegisterUser(asked.username, asked.email, tuple(asked.roles))
    async with call.services.pool.acquire() as connection:
        user = await accounts.register_user(connection, command, call.context)
    call.services.doorbell.ring("events")
    headers = {"Location": f"/api/v1/users/{user.user_id}"}
    return json_answer(render(user), HTTPStatus.CREATED, headers)


async def list_users(call: Call[None, PageQuery]) -> Response:
    """List users, newest first."""
    found = await users.list_page(call.services.pool, call.query.page())
    rows = [render(user) for user in found.rows]
    return json_answer(envelope("users", call.query, found, rows))


async def get(call: Call[None, None]) -> Response:
    """Show one user."""
    user = await users.get(call.services.pool, call.object_id)
    if user is None:
        raise not_found(kind="user")
    return json_answer(render(user))


async def set_roles(call: Call[RolesRequest, None]) -> Response:
    """Give a user these roles and no others."""
    return await _command(call, ChangeRoles(tuple(call.body.roles)))


async def deactivate(call: Call[None, None]) -> Response:
    """Let a user do nothing any more; none of its tokens holds."""
    return await _command(call, DeactivateUser())


async def _command(call: Call[Any, Any], command: UserCommand) -> Response:
    async with call.services.pool.acquire() as connection:
        user = await accounts.command_user(connection, call.object_id, command, call.context)
    call.services.announce_rights()
    return json_answer(render(user))


async def me(call: Call[None, None]) -> Response:
    """Show who the caller is, and what the token in its hand opens."""
    caller, pool = call.caller, call.services.pool
    user = await users.get(pool, caller.user_id)
    token = await tokens.get(pool, caller.token_id)
    if user is None or token is None:
        raise not_found(kind="user")
    shown = {
        "token_id": token.token_id,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": sorted(caller.scopes),
        "expires_at": token.expires_at,
    }
    return json_answer({"user": render(user), "token": shown})
