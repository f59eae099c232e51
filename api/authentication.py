"""Who asks: the token in the Authorization header, looked up by its SHA-256.

What was found is believed for half a second, so that a revocation in any process is in force
within one. A database that cannot be reached is an outage, never a refusal.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from reactorcide.api.call import Caller
from reactorcide.api.errors import (
    INVALID_HEADER,
    INVALID_TOKEN,
    MISSING_HEADER,
    Problem,
    rate_limited,
    unauthorized,
)
from reactorcide.api.limits import Window
from reactorcide.api.token_uses import TokenUses
from reactorcide.api.tokens_text import hash_of, is_token_text
from reactorcide.eventstore.database import Pool
from reactorcide.eventstore.domain.access import scopes_of
from reactorcide.projections import tokens

BELIEVED_SECONDS: Final = 0.5
_REMEMBERED: Final = 10_000
_UNKNOWN: Final = (None, -math.inf)


class Authenticator:
    """Finds the caller of a request; counts failures per address."""

    def __init__(
        self,
        pool: Pool,
        failures: Window[str],
        uses: TokenUses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._failures = failures
        self._uses = uses
        self._clock = clock
        self._known: dict[str, tuple[Caller, float]] = {}
        self._asking: dict[str, asyncio.Task[Caller | None]] = {}

    async def authenticate(self, header: str | None, ip: str | None) -> Caller:
        """Return the caller; raises Problem (401, 429)."""
        if header is None:
            raise unauthorized(MISSING_HEADER)
        scheme, _, text = header.partition(" ")
        text = text.strip(" ")
        if scheme.lower() != "bearer" or not text or " " in text:
            raise unauthorized(INVALID_HEADER)
        token_hash = hash_of(text)
        caller = self._believed(token_hash)
        if caller is None and is_token_text(text):
            caller = await self._asked(token_hash)
        if caller is None:
            raise self._failed(ip)
        self._uses.note(caller.token_id)
        return caller

    async def still_holds(self, caller: Caller) -> bool:
        """Tell whether the token that a caller came with holds by now."""
        return await self._now(caller) is not None

    async def is_unchanged(self, caller: Caller) -> bool:
        """Tell whether the token holds by now, and opens what it did when the caller came."""
        return await self._now(caller) == caller

    def forget(self) -> None:
        """Believe nothing any more: somebody's rights have changed."""
        self._known.clear()
        self._asking.clear()

    async def _now(self, caller: Caller) -> Caller | None:
        token_hash = caller.token_hash
        return self._believed(token_hash) or await self._asked(token_hash)

    def _believed(self, token_hash: str) -> Caller | None:
        caller, until = self._known.get(token_hash, _UNKNOWN)
        return caller if self._clock() < until else None

    async def _asked(self, token_hash: str) -> Caller | None:
        """Ask the database; those who ask for the same token at the same time ask once."""
        asking = self._asking.get(token_hash)
        if asking is None:
            asking = asyncio.create_task(self._ask(token_hash), name="authentication")
            self._asking[token_hash] = asking
        return await asyncio.shield(asking)

    async def _ask(self, token_hash: str) -> Caller | None:
        mine = asyncio.current_task()
        asked_at = self._clock()
        try:
            found = await tokens.authenticate(self._pool, token_hash)
        finally:
            is_current = self._asking.get(token_hash) is mine
            if is_current:
                del self._asking[token_hash]
        if found is None:
            self._known.pop(token_hash, None)
            return None
        token, roles = found.token, found.user.roles
        scopes = scopes_of(roles, token.scopes)
        said = {"user_id": str(token.user_id), "token_id": str(token.token_id)}
        caller = Caller(token.user_id, token.token_id, roles, scopes, token_hash, said)
        if is_current:  # else somebody's rights have changed while we asked
            self._remember(caller, asked_at + BELIEVED_SECONDS)
        return caller

    def _remember(self, caller: Caller, until: float) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[caller.token_hash] = (caller, until)

    def _failed(self, ip: str | None) -> Problem:
        """Count a token that does not hold, and say so."""
        verdict = self._failures.take(ip or "")
        if verdict.is_allowed:
            return unauthorized(INVALID_TOKEN)
        detail = f"Too many failed authentications; again in {verdict.retry_after_seconds} s"
        return rate_limited(detail, self._failures.headers(verdict))
