"""Tables `tokens` and `token_uses`: what opens the API. All their writes and all their queries.

A token is known by the SHA-256 of its text alone. `token_uses` is no fold of the log.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import (
    TokenEvent,
    TokenIssued,
    TokenRevoked,
    TokenRotated,
)
from reactorcide.eventstore.domain.token import TokenState, TokenStatus
from reactorcide.eventstore.handle import Change, Handled
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import folding
from reactorcide.projections.folding import Fact
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page, listed
from reactorcide.projections.users import User

# The rows of new and changed tokens, inside the append's statement. Scopes travel as JSON:
# PostgreSQL has no arrays of arrays of different lengths.
INLINE: Final = """
, written_tokens AS (
    INSERT INTO tokens (
        token_id, version, user_id, name, token_hash, prefix, scopes, expires_at, rotated_from,
        successor_id, revoked_at, created_at, updated_at
    )
    SELECT
        token_id, version, user_id, name, token_hash, prefix,
        CASE WHEN scopes IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(scopes)) END,
        expires_at, rotated_from, successor_id,
        CASE WHEN is_revoked THEN now() ELSE valid_until END, now(), now()
    FROM unnest(
        $17::uuid[], $18::int[], $19::uuid[], $20::text[], $21::text[], $22::text[], $23::jsonb[],
        $24::timestamptz[], $25::uuid[], $26::uuid[], $27::bool[], $28::timestamptz[]
    ) AS w (
        token_id, version, user_id, name, token_hash, prefix, scopes,
        expires_at, rotated_from, successor_id, is_revoked, valid_until
    )
    WHERE w.token_id = ANY (ARRAY(SELECT stream_id FROM first))
    ON CONFLICT (token_id) DO UPDATE SET
        version = excluded.version,
        successor_id = excluded.successor_id,
        revoked_at = excluded.revoked_at,
        updated_at = excluded.updated_at
)"""

_GET: Final = """
SELECT t.*, u.last_used_at FROM tokens AS t LEFT JOIN token_uses AS u USING (token_id)
WHERE t.token_id = $1"""
_LIST: Final = """
SELECT t.*, u.last_used_at FROM tokens AS t LEFT JOIN token_uses AS u USING (token_id)
WHERE t.user_id = $1 AND ($2::uuid IS NULL OR t.token_id < $2)
ORDER BY t.token_id DESC LIMIT $3 OFFSET $4"""
_COUNT: Final = """
SELECT count(*) FROM (SELECT FROM tokens WHERE user_id = $1 LIMIT $2) AS few"""
_AUTHENTICATE: Final = """
SELECT
    t.*, s.last_used_at, u.version AS user_version, u.username, u.email, u.roles, u.is_active,
    u.created_at AS user_created_at, u.updated_at AS user_updated_at
FROM tokens AS t
JOIN users AS u ON u.user_id = t.user_id AND u.is_active
LEFT JOIN token_uses AS s ON s.token_id = t.token_id
WHERE t.token_hash = $1
    AND (t.expires_at IS NULL OR t.expires_at > now())
    AND (t.revoked_at IS NULL OR t.revoked_at > now())"""
_TOUCH: Final = """
INSERT INTO token_uses (token_id, last_used_at) SELECT unnest($1::uuid[]), now() ORDER BY 1
ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
    WHERE token_uses.last_used_at < now() - interval '1 minute'"""

# See endings.py. It ends when it holds no more for good: revoked, replaced, expired, or its owner
# deactivated. An expiry that has not come is no end, whatever time is asked for.
ENDED: Final = """
SELECT t.token_id, t.version FROM tokens AS t JOIN users AS u USING (user_id)
CROSS JOIN LATERAL (
    SELECT position FROM events WHERE stream_id = t.token_id ORDER BY version DESC LIMIT 1
) AS last
WHERE least(t.expires_at, t.revoked_at, CASE WHEN NOT u.is_active THEN u.updated_at END)
        < least($1, now())
    AND last.position <= $2 AND t.token_id > $3
ORDER BY t.token_id LIMIT $4"""
# When it was last used is nowhere else, so that stays.
DROP: Final = "DELETE FROM tokens WHERE token_id = ANY ($1::uuid[])"
_LAST_USED: Final = "SELECT last_used_at FROM token_uses WHERE token_id = $1"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it stands after event `version` of its stream."""

    token_id: UUID
    version: int
    user_id: UUID
    name: str
    token_hash: str
    prefix: str
    scopes: tuple[str, ...] | None
    """None: all that the owner's roles allow."""
    expires_at: datetime | None
    """None: never."""
    revoked_at: datetime | None
    """From when it holds no more, sooner than `expires_at`: revoked, or replaced."""
    rotated_from: UUID | None
    successor_id: UUID | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = None
    """To the minute. Not a fold: None in what `fold` and `after` return."""

    def holds_at(self, moment: datetime) -> bool:
        """Say whether it opens anything at `moment`, as far as the token itself goes."""
        return all(end is None or end > moment for end in (self.expires_at, self.revoked_at))


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token that holds, and its owner, who is active."""

    token: Token
    user: User


def fold(recorded: Iterable[RecordedEvent]) -> Token | None:
    """Return the token that its stream's events make, from the first on; None without any."""
    return folding.fold(folded, recorded)


def after(handled: Handled[TokenState, TokenEvent]) -> Token:
    """Return the token as a command left it, without another read."""
    return folding.after(folded, handled)


def folded(token_id: UUID, facts: Sequence[Fact[TokenEvent]]) -> Token:
    """Return the token that all its facts make, one at least."""
    token: Token | None = None
    for at, event in facts:
        token = _applied(token, token_id, at, event)
    assert token is not None  # noqa: S101  there is one fact at least
    return token


def _applied(token: Token | None, token_id: UUID, at: datetime, event: TokenEvent) -> Token:
    match event:
        case TokenIssued():
            return _issued(token_id, at, event)
        case TokenRevoked():
            return replace(_next(token, at), revoked_at=at)
        case TokenRotated(successor_id=successor_id, valid_until=until):
            return replace(_next(token, at), successor_id=successor_id, revoked_at=until)
        case _:
            assert_never(event)


def _issued(token_id: UUID, at: datetime, event: TokenIssued) -> Token:
    return Token(
        token_id=token_id,
        version=1,
        user_id=event.user_id,
        name=event.name,
        token_hash=event.token_hash,
        prefix=event.prefix,
        scopes=event.scopes,
        expires_at=event.expires_at,
        revoked_at=None,
        rotated_from=event.rotated_from,
        successor_id=None,
        created_at=at,
        updated_at=at,
    )


def _next(token: Token | None, at: datetime) -> Token:
    assert token is not None  # noqa: S101  a stream begins with token.issued
    return replace(token, version=token.version + 1, updated_at=at)


def rows(changes: Sequence[Change[TokenState]]) -> InlineRows:
    """Return what the append of these changes writes."""
    written = [
        (
            change.stream_id,
            change.version,
            issued.user_id,
            issued.name,
            issued.token_hash,
            issued.prefix,
            None if issued.scopes is None else json.dumps(issued.scopes),
            issued.expires_at,
            issued.rotated_from,
            change.state.successor_id,
            change.state.status is TokenStatus.REVOKED,
            change.state.valid_until,
        )
        for change in sorted(changes, key=lambda change: change.stream_id)
        if (issued := change.state.issued) is not None
    ]
    return InlineRows(INLINE, tuple(map(list, zip(*written, strict=True))))


COLUMNS: Final = (
    *("token_id", "version", "user_id", "name", "token_hash", "prefix", "scopes", "expires_at"),
    *("revoked_at", "rotated_from", "successor_id", "created_at", "updated_at"),
)


def values(token_id: UUID, facts: Sequence[Fact[TokenEvent]]) -> tuple[Any, ...]:
    """Return the row of a token, in the order of COLUMNS."""
    token = folded(token_id, facts)
    return tuple(getattr(token, column) for column in COLUMNS)


def token_of(row: asyncpg.Record) -> Token:
    """Return the token that a row of the table, with its last use, holds."""
    return Token(
        token_id=row["token_id"],
        version=row["version"],
        user_id=row["user_id"],
        name=row["name"],
        token_hash=row["token_hash"],
        prefix=row["prefix"],
        scopes=None if row["scopes"] is None else tuple(row["scopes"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        rotated_from=row["rotated_from"],
        successor_id=row["successor_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_used_at=row["last_used_at"],
    )


async def get(connection: Reader, token_id: UUID) -> Token | None:
    """Return a token, also one that no longer holds; None when it is unknown."""
    row = await connection.fetchrow(_GET, token_id)
    return None if row is None else token_of(row)


async def last_used_at(connection: Reader, token_id: UUID) -> datetime | None:
    """Return when a token was last used, wherever the token is."""
    moment: datetime | None = await connection.fetchval(_LAST_USED, token_id)
    return moment


async def list_page(connection: Reader, user_id: UUID, page: Page) -> Listed[Token]:
    """Return a page of a user's tokens, newest first, also those that no longer hold."""
    found = await connection.fetch(_LIST, user_id, page.before, page.limit + 1, page.offset)
    count: int = await connection.fetchval(_COUNT, user_id, ROWS_COUNTED + 1)
    total = count if count <= ROWS_COUNTED else None
    return listed([token_of(row) for row in found], [row["token_id"] for row in found], page, total)


async def authenticate(connection: Reader, token_hash: str) -> Authenticated | None:
    """Return the token of this SHA-256 (hex) and its owner; None when it opens nothing.

    Unknown, expired, revoked, replaced, owner deactivated: all alike. Time is the database's.
    """
    row = await connection.fetchrow(_AUTHENTICATE, token_hash)
    if row is None:
        return None
    owner = User(
        user_id=row["user_id"],
        version=row["user_version"],
        username=row["username"],
        email=row["email"],
        roles=tuple(row["roles"]),
        is_active=row["is_active"],
        created_at=row["user_created_at"],
        updated_at=row["user_updated_at"],
    )
    return Authenticated(token_of(row), owner)


async def touch(connection: Reader, token_ids: Iterable[UUID]) -> None:
    """Note that these tokens were used just now; at most one write a minute and token."""
    await connection.execute(_TOUCH, list(set(token_ids)))
