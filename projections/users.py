"""Table `users`: who may ask, and as what. All its writes and all its queries."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import (
    UserDeactivated,
    UserEvent,
    UserRegistered,
    UserRolesChanged,
)
from reactorcide.eventstore.domain.user import UserState, UserStatus
from reactorcide.eventstore.handle import Change, Handled
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import folding
from reactorcide.projections.folding import Fact
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page, listed

# The rows of new and changed users, inside the append's statement. Roles travel as JSON:
# PostgreSQL has no arrays of arrays of different lengths.
INLINE: Final = """
, written_users AS (
    INSERT INTO users (
        user_id, version, username, email, roles, is_active, created_at, updated_at
    )
    SELECT
        user_id, version, username, email,
        ARRAY(SELECT jsonb_array_elements_text(roles)), is_active, now(), now()
    FROM unnest($17::uuid[], $18::int[], $19::text[], $20::text[], $21::jsonb[], $22::bool[])
        AS w (user_id, version, username, email, roles, is_active)
    WHERE w.user_id = ANY (ARRAY(SELECT stream_id FROM first))
    ON CONFLICT (user_id) DO UPDATE SET
        version = excluded.version,
        roles = excluded.roles,
        is_active = excluded.is_active,
        updated_at = excluded.updated_at
)"""

_GET: Final = "SELECT * FROM users WHERE user_id = $1"
_NAMED: Final = "SELECT * FROM users WHERE lower(username) = lower($1)"
_LIST: Final = """
SELECT * FROM users WHERE $1::uuid IS NULL OR user_id < $1
ORDER BY user_id DESC LIMIT $2 OFFSET $3"""
_COUNT: Final = "SELECT count(*) FROM (SELECT FROM users LIMIT $1) AS few"

UNIQUE: Final = {"users_username": "username", "users_email": "email"}
"""The unique indexes that an append can meet, and the field each is about."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as it stands after event `version` of its stream."""

    user_id: UUID
    version: int
    username: str
    email: str | None
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
    updated_at: datetime


def fold(recorded: Iterable[RecordedEvent]) -> User | None:
    """Return the user that its stream's events make, from the first on; None without any."""
    return folding.fold(folded, recorded)


def after(handled: Handled[UserState, UserEvent]) -> User:
    """Return the user as a command left it, without another read."""
    return folding.after(folded, handled)


def folded(user_id: UUID, facts: Sequence[Fact[UserEvent]]) -> User:
    """Return the user that all its facts make, one at least."""
    user: User | None = None
    for at, event in facts:
        user = _applied(user, user_id, at, event)
    assert user is not None  # noqa: S101  there is one fact at least
    return user


def _applied(user: User | None, user_id: UUID, at: datetime, event: UserEvent) -> User:
    match event:
        case UserRegistered(username=username, email=email, roles=roles):
            return User(
                user_id, 1, username, email, roles, is_active=True, created_at=at, updated_at=at
            )
        case UserRolesChanged(roles=roles):
            return replace(_next(user, at), roles=roles)
        case UserDeactivated():
            return replace(_next(user, at), is_active=False)
        case _:
            assert_never(event)


def _next(user: User | None, at: datetime) -> User:
    assert user is not None  # noqa: S101  a stream begins with user.registered
    return replace(user, version=user.version + 1, updated_at=at)


def rows(changes: Sequence[Change[UserState]]) -> InlineRows:
    """Return what the append of these changes writes."""
    written = [
        (
            change.stream_id,
            change.version,
            change.state.registered.username,
            change.state.registered.email,
            json.dumps(change.state.roles),
            change.state.status is UserStatus.ACTIVE,
        )
        for change in sorted(changes, key=lambda change: change.stream_id)
        if change.state.registered is not None
    ]
    return InlineRows(INLINE, tuple(map(list, zip(*written, strict=True))))


COLUMNS: Final = (
    *("user_id", "version", "username", "email", "roles", "is_active"),
    *("created_at", "updated_at"),
)


def values(user_id: UUID, facts: Sequence[Fact[UserEvent]]) -> tuple[Any, ...]:
    """Return the row of a user, in the order of COLUMNS."""
    user = folded(user_id, facts)
    return tuple(getattr(user, column) for column in COLUMNS)


def user_of(row: asyncpg.Record) -> User:
    """Return the user that a row of the table holds."""
    return User(
        row["user_id"],
        row["version"],
        row["username"],
        row["email"],
        tuple(row["roles"]),
        row["is_active"],
        row["created_at"],
        row["updated_at"],
    )


async def get(connection: Reader, user_id: UUID) -> User | None:
    """Return a user; None when it is unknown."""
    row = await connection.fetchrow(_GET, user_id)
    return None if row is None else user_of(row)


async def named(connection: Reader, username: str) -> User | None:
    """Return the user of this name, whatever the case."""
    row = await connection.fetchrow(_NAMED, username)
    return None if row is None else user_of(row)


async def list_page(connection: Reader, page: Page) -> Listed[User]:
    """Return a page of users, newest first."""
    found = await connection.fetch(_LIST, page.before, page.limit + 1, page.offset)
    count: int = await connection.fetchval(_COUNT, ROWS_COUNTED + 1)
    total = count if count <= ROWS_COUNTED else None
    return listed([user_of(row) for row in found], [row["user_id"] for row in found], page, total)
