"""The outermost layer: every request gets an id, the headers, one log line, and an answer.

Whatever is raised inside becomes a problem here; nothing passes through to the server. It knows
no operation.
"""

import time
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reactorcide.api.accesses import Accesses
from reactorcide.api.errors import Problem, internal_error, problem_of, unavailable
from reactorcide.api.exchange import Exchange, open_exchange
from reactorcide.api.metrics import Metrics
from reactorcide.eventstore.database import (
    DatabaseError,
    DatabaseUnavailable,
    SchemaMismatch,
    StatementRefused,
    our_error,
)
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.handle import ConflictPersists
from reactorcide.eventstore.objects import ObjectStoreError

log = structlog.stdlib.get_logger("reactorcide.api")

_PROBLEM_JSON: Final = "application/problem+json"
_NO_STORE: Final = (b"cache-control", b"no-store")
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")


class RequestEdge:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, metrics: Metrics, accesses: Accesses) -> None:
        self._app = app
        self._metrics = metrics
        self._accesses = accesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = open_exchange(scope)
        sending = _sending(exchange, send)
        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the request's edge: all become answers
            await self._answer(error, exchange, scope, receive, sending)
        finally:
            self._close(exchange, scope)

    async def _answer(
        self, error: Exception, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        problem = _problem_for(error)
        if problem is None:
            log.error("request_failed", exc_info=error, **exchange.bound())
            problem = internal_error()
        if exchange.status == 0:
            self._accesses.note_problem(problem, exchange, scope["headers"])
            await problem_response(problem, scope["path"], exchange)(scope, receive, send)

    def _close(self, exchange: Exchange, scope: Scope) -> None:
        seconds = time.perf_counter() - exchange.started
        self._metrics.observe(exchange.operation, scope["method"], exchange.status, seconds)
        line = log.debug if exchange.is_quiet else log.info
        line(
            "request_answered",
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            duration_ms=round(seconds * 1000, 2),
            **exchange.bound(),
        )


def problem_response(problem: Problem, path: str, exchange: Exchange) -> Response:
    """Return the problem as an answer."""
    body = problem.body(path, exchange.request_id)
    return Response(body, problem.status, problem.headers, media_type=_PROBLEM_JSON)


def _problem_for(error: Exception) -> Problem | None:
    """Return the problem that an exception stands for; None for a defect of ours."""
    match error:
        case Problem():
            return error
        case CommandRejected():
            return problem_of(error)
        case ObjectStoreError(detail=detail):
            log.warning("object_store_missed", detail=detail)
            return unavailable("The object store cannot be used just now")
        case ConflictPersists():
            return unavailable("Others keep changing this object; try again")
        case _:
            return _problem_of_database(our_error(error))


def _problem_of_database(error: DatabaseError | None) -> Problem | None:
    match error:
        case DatabaseUnavailable(detail=detail) | SchemaMismatch(detail=detail):
            log.warning("database_missed", detail=detail)
            return unavailable("The database cannot be used just now")
        case StatementRefused(is_transient=True):
            return unavailable("The database is too busy; try again")
        case _:
            return None


def _sending(exchange: Exchange, send: Send) -> Send:
    """Return a `send` that adds the headers which every answer carries."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = int(message["status"])
            message["headers"] = _headers_of(message["headers"], exchange)
        await send(message)

    return sending


def _headers_of(given: list[tuple[bytes, bytes]], exchange: Exchange) -> list[tuple[bytes, bytes]]:
    names = [name for name, _ in given]
    headers = [*given, (b"x-request-id", exchange.request_id.encode("ascii")), _NO_SNIFF]
    if b"cache-control" not in names:
        headers.append(_NO_STORE)
    for title, text in exchange.headers.items():
        name = title.lower().encode()
        if name not in names:
            headers.append((name, text.encode()))
    return headers
