"""Operations on users, and on the caller itself."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import Field
from starlette.responses import Response

from reactorcide.api import accounts
from reactorcide.api.call import Call, json_answer
from reactorcide.api.differences import DiffQuery, diff_answer
from reactorcide.api.errors import not_found
from reactorcide.api.fields import Email, RequestModel, Roles, Username
from reactorcide.api.moments import AtQuery, check_past, up_to
from reactorcide.api.pages import PageQuery, envelope
from reactorcide.eventstore import store
from reactorcide.eventstore.domain.access import Role
from reactorcide.eventstore.domain.user import (
    ChangeRoles,
    DeactivateUser,
    RegisterUser,
    UserCommand,
)
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import tokens, users
from reactorcide.projections.folding import facts_of
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


async def get(call: Call[None, AtQuery]) -> Response:
    """Show one user, now or as it stood once."""
    moment = call.query.at
    if moment is None:
        user = await users.get(call.services.pool, call.object_id)
    else:
        await check_past(call.services.pool, moment)
        user = users.fold(up_to(await _stream(call), moment))
    if user is None:
        raise not_found(kind="user")
    return json_answer(render(user))


async def diff(call: Call[None, DiffQuery]) -> Response:
    """Say what changed in a user from one version to another."""

    def shown(events: Sequence[RecordedEvent]) -> dict[str, Any]:
        return render(users.folded(call.object_id, facts_of(events)))

    recorded = await _stream(call)
    if not recorded:
        raise not_found(kind="user")
    return diff_answer(call.query, recorded, shown)


async def _stream(call: Call[Any, Any]) -> list[RecordedEvent]:
    """Return all that happened to the user in the path; nothing for the id of something else."""
    recorded = await store.read_stream(call.services.pool, call.object_id)
    return [one for one in recorded if one.stream_type == "user"]


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
