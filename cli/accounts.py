"""Users and tokens made straight in the database: the first ones have nobody to ask."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import asyncpg
from pydantic import BaseModel, ValidationError

from reactorcide.api import accounts
from reactorcide.api.fields import Email, Name, RequestModel, Roles, Scopes, Username
from reactorcide.cli import exits
from reactorcide.cli.exits import Stop
from reactorcide.cli.failures import told
from reactorcide.cli.local import database_of
from reactorcide.cli.settings import Settings
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.access import DEFAULT_TOKEN_LIFE
from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.domain.user import RegisterUser
from reactorcide.eventstore.record import SYSTEM
from reactorcide.migrations.schema import check_schema
from reactorcide.projections.users import User

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class UserFields(RequestModel):
    """A user to be made, held against the API's rules."""

    username: Username
    email: Email | None
    roles: Roles


class TokenFields(RequestModel):
    """A token to be made, and the user that is made when missing."""

    username: Username
    roles: Roles
    name: Name
    scopes: Scopes | None


@dataclass(frozen=True, slots=True)
class Made:
    """A token just made. `was_there`: its user was."""

    user: User
    made: accounts.NewToken
    was_there: bool


def in_database(
    settings: Settings, work: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]]
) -> T:
    """Do some work on one connection to a database whose schema fits."""

    async def connected(uri: str) -> T:
        await check_schema(uri)
        connection = await Database(uri).connect()
        try:
            return await work(connection)
        finally:
            await connection.close()

    with told(), database_of(settings) as uri:
        return asyncio.run(connected(uri))


def checked(model: type[M], **fields: object) -> M:
    """Return the fields as the model holds them. Stops the command where a rule is broken."""
    try:
        return model(**fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = str(wrong["loc"][0])
        raise Stop(
            exits.USAGE, f"{where}={fields[where]!r} can't be used: {wrong['msg']}"
        ) from None


async def create_user(connection: "asyncpg.Connection[asyncpg.Record]", asked: UserFields) -> User:
    """Make a user. Raises AlreadyTaken."""
    command = RegisterUser(asked.username, asked.email, tuple(asked.roles))
    return await accounts.register_user(connection, command, SYSTEM)


async def create_token(
    connection: "asyncpg.Connection[asyncpg.Record]",
    asked: TokenFields,
    lifetime_seconds: int | None,
) -> Made:
    """Make a token, and its user when there is none; both or neither.

    Raises NotLegal when the user was deactivated.
    """
    async with connection.transaction():
        user = await accounts.user_named(connection, asked.username, tuple(asked.roles), SYSTEM)
        if not user.is_active:
            detail = f"user {user.username} was deactivated"
            raise NotLegal(detail, "inactive")
        lifetime = (
            DEFAULT_TOKEN_LIFE if lifetime_seconds is None else timedelta(seconds=lifetime_seconds)
        )
        request = accounts.TokenRequest(
            user.user_id,
            asked.name,
            None if asked.scopes is None else tuple(asked.scopes),
            datetime.now(UTC) + lifetime,
        )
        made = await accounts.issue_token(connection, request, SYSTEM)
    return Made(user, made, was_there=user.created_at < made.token.created_at)
