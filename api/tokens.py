"""Operations on tokens. A plain user has its own; an admin has everybody's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from reactorcide.api import accounts
from reactorcide.api.accounts import NewToken, TokenRequest
from reactorcide.api.call import Call, Caller, json_answer, no_content
from reactorcide.api.differences import DiffQuery, diff_answer
from reactorcide.api.errors import Hidden, conflict, forbidden, invalid_field, not_found
from reactorcide.api.fields import Id, Name, RequestModel, Scopes, Time
from reactorcide.api.moments import AtQuery, check_past, up_to
from reactorcide.api.pages import PageQuery, envelope
from reactorcide.eventstore import store
from reactorcide.eventstore.domain.access import (
    DEFAULT_TOKEN_LIFE,
    LONGEST_TOKEN_LIFE,
    Giver,
    Grant,
    check_grant,
)
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import archives, tokens, users
from reactorcide.projections.folding import facts_of
from reactorcide.projections.tokens import Token
from reactorcide.projections.users import User


class IssueRequest(RequestModel):
    """A token to be made."""

    name: Name
    expires_at: Time | None = None
    scopes: Scopes | None = None
    user_id: Id | None = None


class RotateRequest(RequestModel):
    """How long the old token lives on."""

    overlap_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0


class TokenListQuery(PageQuery):
    """Whose tokens; an admin may name another user."""

    user_id: Id | None = None


def render(token: Token, now: datetime) -> dict[str, Any]:
    """Return a token as the API shows it; never its text or hash."""
    return {
        "token_id": token.token_id,
        "user_id": token.user_id,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "is_active": token.holds_at(now),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "rotated_from": token.rotated_from,
        "successor_id": token.successor_id,
    }


async def issue(call: Call[IssueRequest, None]) -> Response:
    """Make a token; its text is shown this once."""
    owner = await _owner(call)
    scopes = tuple(call.body.scopes) if call.body.scopes is not None else None
    expires_at = _expiry(call.body)
    grant = Grant(owner.user_id, owner.roles, scopes, expires_at)
    check_grant(_giver(call.caller), grant)
    request = TokenRequest(owner.user_id, call.body.name, scopes, expires_at)
    async with call.services.pool.acquire() as connection:
        made = await accounts.issue_token(connection, request, call.context)
    call.services.doorbell.ring("events")
    return _shown_once(made)


async def _owner(call: Call[IssueRequest, None]) -> User:
    """Return the user that the token is for."""
    user_id = call.body.user_id or call.caller.user_id
    if user_id != call.caller.user_id and not call.caller.is_admin:
        raise forbidden(detail="Only an admin makes tokens for others")
    owner = await users.get(call.services.pool, user_id)
    if owner is None:
        raise invalid_field(pointer="/user_id", code="unknown", message="No such user")
    if not owner.is_active:
        raise conflict(detail="The user was deactivated", current_status="inactive")
    return owner


def _expiry(asked: IssueRequest) -> datetime | None:
    """Return when the token is to expire: as asked, else in 90 days."""
    now = datetime.now(UTC)
    if "expires_at" not in asked.model_fields_set:
        return now + DEFAULT_TOKEN_LIFE
    at = asked.expires_at
    if at is not None and not now < at <= now + LONGEST_TOKEN_LIFE:
        message = "Must lie in the future, at most 365 days from now"
        raise invalid_field(pointer="/expires_at", code="expiry", message=message)
    return at


def _giver(caller: Caller) -> Giver:
    return Giver(caller.user_id, caller.roles, caller.scopes)


def _shown_once(made: NewToken) -> Response:
    token = made.token
    content = {
        "token_id": token.token_id,
        "token": made.text,
        "name": token.name,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
    return json_answer(
        content, HTTPStatus.CREATED, {"Location": f"/api/v1/tokens/{token.token_id}"}
    )


async def list_tokens(call: Call[None, TokenListQuery]) -> Response:
    """List the caller's tokens, newest first, also those that no longer hold."""
    user_id = call.query.user_id or call.caller.user_id
    if user_id != call.caller.user_id and not call.caller.is_admin:
        raise forbidden(detail="Only an admin sees tokens of others")
    found = await tokens.list_page(call.services.pool, user_id, call.query.page())
    now = datetime.now(UTC)
    rows = [render(token, now) for token in found.rows]
    return json_answer(envelope("tokens", call.query, found, rows))


async def get(call: Call[None, AtQuery]) -> Response:
    """Show one token, now or as it stood once: `last_used_at` is known of now alone."""
    token, moment = await _visible(call), call.query.at
    if moment is None:
        return json_answer(render(token, datetime.now(UTC)))
    await check_past(call.services.pool, moment)
    recorded = up_to(await _stream(call), moment)
    if not recorded:
        raise not_found(kind="token")
    at = moment if isinstance(moment, datetime) else recorded[-1].recorded_at
    return json_answer(render(tokens.folded(token.token_id, facts_of(recorded)), at))


async def diff(call: Call[None, DiffQuery]) -> Response:
    """Say what changed in a token from one version to another."""
    token = await _visible(call)

    def shown(events: Sequence[RecordedEvent]) -> dict[str, Any]:
        return render(tokens.folded(token.token_id, facts_of(events)), events[-1].recorded_at)

    return diff_answer(call.query, await _stream(call), shown)


async def _stream(call: Call[Any, Any]) -> list[RecordedEvent]:
    """Return all that happened to the token in the path, wherever it is."""
    pool = call.services.pool
    recorded = await store.read_stream(pool, call.object_id)
    return recorded or await archives.read_stream(pool, call.services.objects, call.object_id)


async def revoke(call: Call[None, None]) -> Response:
    """Revoke a token: in force everywhere within a second. An archived one opens nothing anyway."""
    token = await _visible(call)
    if await tokens.get(call.services.pool, token.token_id) is None:
        return no_content()
    async with call.services.pool.acquire() as connection:
        await accounts.revoke_token(connection, token.token_id, call.context)
    call.services.announce_rights()
    return no_content()


async def rotate(call: Call[RotateRequest, None]) -> Response:
    """Replace a token by a new one that may do the same."""
    token, services = await _visible(call), call.services
    is_archived = await tokens.get(services.pool, token.token_id) is None
    if is_archived or not token.holds_at(datetime.now(UTC)):
        raise conflict(detail="The token no longer holds", current_status="inactive")
    owner = await users.get(services.pool, token.user_id)
    if owner is None or not owner.is_active:
        raise conflict(detail="The user was deactivated", current_status="inactive")
    # Another's narrower token must not turn itself into this one. An expiry of "never" was
    # granted once and is handed on.
    asked = Grant(owner.user_id, owner.roles, token.scopes, datetime.now(UTC))
    if token.token_id != call.caller.token_id:
        check_grant(_giver(call.caller), asked)
    seconds = call.body.overlap_seconds
    async with services.pool.acquire() as connection:
        made = await accounts.rotate_token(connection, token.token_id, seconds, call.context)
    services.announce_rights()
    return _shown_once(made)


async def _visible(call: Call[Any, Any]) -> Token:
    """Return the token in the path, from the archive if it is there. Raises Problem (404)."""
    token = await tokens.get(call.services.pool, call.object_id) or await _archived(call)
    if token is None:
        raise not_found(kind="token")
    if not (token.user_id == call.caller.user_id or call.caller.is_admin):
        raise Hidden("token")
    return token


async def _archived(call: Call[Any, Any]) -> Token | None:
    """Return the token in the path as it was archived."""
    services = call.services
    recorded = await archives.read_stream(services.pool, services.objects, call.object_id)
    if not recorded or recorded[0].stream_type != "token":
        return None
    last_used_at = await tokens.last_used_at(services.pool, call.object_id)
    return replace(tokens.folded(call.object_id, facts_of(recorded)), last_used_at=last_used_at)
