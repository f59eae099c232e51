"""Attempts that came to nothing, reads of others' jobs, and exports, on their way into the log.

The first two are counted in memory and recorded once a minute, or as often as the settings say, by
each API process for itself: a request never waits for it, and an attack leaves as many events as a
minute has different callers, up to a bound. An export is recorded when it ends. What cannot be
written is kept, also bounded, and tried again.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import structlog

from reactorcide.api.access_counts import AccessCounts, Attempt, Part, Reason
from reactorcide.api.call import Call
from reactorcide.api.errors import INVALID_HEADER, MISSING_HEADER, Hidden, Problem
from reactorcide.api.exchange import Exchange, exchange_of
from reactorcide.eventstore import store
from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import DatabaseError, Pool, database_errors
from reactorcide.eventstore.domain.access_report import ACCESS, Report
from reactorcide.eventstore.domain.events import AccessEvent, AccessExported
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Append, Context

log = structlog.stdlib.get_logger("reactorcide.api")

_EARLY_ABOVE: Final = 2000
_EACH: Final = 500
_KEPT: Final = 5000
_LAST_SECONDS: Final = 2.0
_AGENT_LETTERS: Final = 256

_REASONS: Final[Mapping[str, Reason]] = {
    "forbidden": "forbidden",
    "conflict": "conflict",
    "precondition_failed": "precondition_failed",
    "precondition_required": "precondition_required",
}
_NO_TOKEN: Final[Mapping[str, Reason]] = {MISSING_HEADER: "no_token", INVALID_HEADER: "bad_header"}


class Accesses:
    """Counts, and owns the task that records. An async context manager."""

    def __init__(self, pool: Pool, doorbell: Doorbell, seconds: float) -> None:
        self._pool = pool
        self._doorbell = doorbell
        self._seconds = seconds
        self._counts = AccessCounts()
        self._unwritten: list[Append] = []
        self._writing = asyncio.Lock()
        self._is_urgent = asyncio.Event()
        self._background = Background({"accesses": self._record_for_ever})

    async def __aenter__(self) -> Self:
        """Start recording."""
        self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what was counted is recorded, if the database takes it at once."""
        await self._background.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self.flush()
        if self._unwritten:
            log.warning("accesses_lost", count=len(self._unwritten))
        self._background.check()

    def note_problem(
        self, problem: Problem, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Count a request that ends with a problem, if it is one of those an audit asks for."""
        reason = _reason_of(problem, exchange)
        if reason is not None:
            context = _context_of(exchange, headers)
            attempt = Attempt(context, exchange.wanted, datetime.now(UTC))
            self._counts.unserved(reason, attempt)

    def note_read(self, part: Part, call: Call[Any, Any], job_id: UUID, owner: UUID) -> None:
        """Count a read of a job's log or artifacts, unless its owner is who reads."""
        if owner == call.caller.user_id:
            return
        operation = exchange_of(call.request.scope).operation
        self._counts.read(part, job_id, Attempt(call.context, operation, datetime.now(UTC)))
        if len(self._counts) > _EARLY_ABOVE:
            self._is_urgent.set()

    def note_export(self, event: AccessExported, who: Context) -> None:
        """Have an export recorded soon."""
        self._unwritten.append(_append_of(event, who))
        self._is_urgent.set()

    async def record_export(self, event: AccessExported, who: Context) -> None:
        """Record an export now; what the database does not take soon is kept."""
        self._unwritten.append(_append_of(event, who))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS), self._writing:
                await self._save()

    async def flush(self) -> None:
        """Record what was counted by now; what the database does not take is kept."""
        async with self._writing:
            if self._counts.reads_lost:
                log.warning("reads_not_recorded", count=self._counts.reads_lost)
            self._unwritten += [_append_of(event, who) for event, who in self._counts.take()]
            await self._save()

    async def _save(self) -> None:
        """Write what waits, for who holds the lock; what the database does not take is kept."""
        if not self._unwritten:
            return
        try:
            await self._write()
        except DatabaseError as error:
            lost = len(self._unwritten) - _KEPT
            log.warning("accesses_not_recorded", detail=error.detail, lost=max(lost, 0))
            del self._unwritten[: max(lost, 0)]
        else:
            self._doorbell.ring("events")

    async def _write(self) -> None:
        while batch := self._unwritten[:_EACH]:
            with database_errors():
                async with self._pool.acquire() as connection:
                    await store.append(connection, batch)
            del self._unwritten[: len(batch)]  # more may have come meanwhile

    async def _record_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds - time.time() % self._seconds):
                    await self._is_urgent.wait()
            self._is_urgent.clear()
            await self.flush()


def _reason_of(problem: Problem, exchange: Exchange) -> Reason | None:
    if problem.error == "unauthorized":
        return _NO_TOKEN.get(problem.detail, "bad_token")
    if problem.error == "rate_limited":
        # With a token that holds it comes too often; without one it guesses too often.
        return None if exchange.caller else "bad_token"
    if isinstance(problem, Hidden):
        return "hidden"
    return _REASONS.get(problem.error)


def _context_of(exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]) -> Context:
    caller = exchange.caller
    agent = next((text for name, text in headers if name == b"user-agent"), b"")
    return Context(
        actor_type="user" if caller else "anonymous",
        actor_id=UUID(caller["user_id"]) if caller else None,
        token_id=UUID(caller["token_id"]) if caller else None,
        ip=exchange.ip,
        user_agent=agent[:_AGENT_LETTERS].decode("latin-1") or None,
        request_id=exchange.request_id,
        correlation_id=exchange.correlation_id,
    )


def _append_of(event: AccessEvent, who: Context) -> Append:
    unit = decided(ACCESS, ACCESS.initial, 0, new_id(), Report(event), who)
    assert unit is not None  # noqa: S101  nothing was reported to a new stream
    return unit[0]
