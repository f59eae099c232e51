"""Commands to users and tokens: for the HTTP handlers and for the command line alike.

Who may issue them is for the caller to check. Each runs in the caller's transaction, if it
opened one, and rings nothing: that is for after the commit.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from reactorcide.api.tokens_text import new_token_text
from reactorcide.eventstore.database import Connection, StatementRefused
from reactorcide.eventstore.domain.errors import AlreadyTaken, NotFound
from reactorcide.eventstore.domain.events import TokenIssued
from reactorcide.eventstore.domain.token import (
    TOKEN,
    IssueToken,
    RevokeToken,
    RotateToken,
    TokenState,
)
from reactorcide.eventstore.domain.user import USER, RegisterUser, UserCommand, UserState
from reactorcide.eventstore.handle import TransactionDoor, handle, handle_new
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Context
from reactorcide.projections import tokens, users
from reactorcide.projections.tokens import Token
from reactorcide.projections.users import User


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token to be made; `scopes` None: all that the owner's roles allow."""

    user_id: UUID
    name: str
    scopes: tuple[str, ...] | None
    expires_at: datetime | None
    """None: never."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made, with the text that is shown this once."""

    token: Token
    text: str


async def register_user(connection: Connection, command: RegisterUser, context: Context) -> User:
    """Make a user. Raises AlreadyTaken when its name or address belongs to another."""
    try:
        handled = await handle_new(_users(connection), USER, new_id(), command, context)
    except StatementRefused as error:
        field = users.UNIQUE.get(error.constraint or "")
        if field is None:
            raise
        raise AlreadyTaken(field) from error
    return users.after(handled)


async def user_named(
    connection: Connection, username: str, roles: tuple[str, ...], context: Context
) -> User:
    """Return the user of this name; made first, with `roles`, when there is none."""
    found = await users.named(connection, username)
    if found is not None:
        return found
    try:
        async with connection.transaction():
            return await register_user(connection, RegisterUser(username, roles=roles), context)
    except AlreadyTaken:
        found = await users.named(connection, username)
        if found is None:
            raise
        return found


async def command_user(
    connection: Connection, user_id: UUID, command: UserCommand, context: Context
) -> User:
    """Issue a command to a user. Raises NotFound and NotLegal."""
    return users.after(
        await handle(connection, _users(connection), USER, user_id, command, context)
    )


async def issue_token(
    connection: Connection,
    request: TokenRequest,
    context: Context,
    rotated_from: UUID | None = None,
) -> NewToken:
    """Make a token; its text is returned and kept nowhere."""
    made = new_token_text()
    issued = TokenIssued(
        user_id=request.user_id,
        name=request.name,
        token_hash=made.token_hash,
        prefix=made.prefix,
        scopes=request.scopes,
        expires_at=request.expires_at,
        rotated_from=rotated_from,
    )
    door = _tokens(connection)
    handled = await handle_new(door, TOKEN, new_id(), IssueToken(issued), context)
    return NewToken(tokens.after(handled), made.text)


async def revoke_token(connection: Connection, token_id: UUID, context: Context) -> Token:
    """Let a token open nothing any more; repeating it adds nothing. Raises NotFound."""
    door = _tokens(connection)
    return tokens.after(await handle(connection, door, TOKEN, token_id, RevokeToken(), context))


async def rotate_token(
    connection: Connection, token_id: UUID, overlap_seconds: int, context: Context
) -> NewToken:
    """Replace a token by one that may do the same for as long; the old one holds on a while.

    Both facts or none. Raises NotFound, and NotLegal for one that was replaced or revoked.
    """
    async with connection.transaction():
        old = await tokens.get(connection, token_id)
        if old is None:
            raise NotFound(kind="token")
        now = datetime.now(UTC)
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        expires_at = now + lifetime if lifetime else None
        request = TokenRequest(old.user_id, old.name, old.scopes, expires_at)
        made = await issue_token(connection, request, context, rotated_from=token_id)
        until = now + timedelta(seconds=overlap_seconds)
        command = RotateToken(made.token.token_id, until)
        await handle(connection, _tokens(connection), TOKEN, token_id, command, context)
    return made


def _users(connection: Connection) -> TransactionDoor[UserState]:
    return TransactionDoor(connection, users.rows)


def _tokens(connection: Connection) -> TransactionDoor[TokenState]:
    return TransactionDoor(connection, tokens.rows)
