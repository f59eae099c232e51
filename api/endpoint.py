"""From request to handler: one ASGI app per path that does what the operation's row says.

The order of refusals is fixed: token (401), rate (429), method (405), scope (403), id (404),
query (422), body (415, 413, 400, 422). What a handler decides comes after all of these.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from reactorcide.api.call import NOBODY, Call, Caller
from reactorcide.api.client_address import address_of
from reactorcide.api.errors import (
    forbidden,
    invalid_field,
    method_not_allowed,
    not_found,
    pointer_of,
    problem_of_validation,
    rate_limited,
    request_timeout,
    too_large,
    unsupported_media_type,
)
from reactorcide.api.exchange import Exchange, exchange_of
from reactorcide.api.fields import RequestModel, parse_uuid
from reactorcide.api.json_body import parse_object
from reactorcide.api.operations import Operation
from reactorcide.api.services import Services
from reactorcide.eventstore.record import Context

MAX_BODY_BYTES: Final = 1024 * 1024
_USER_AGENT_LETTERS: Final = 256
_NO_ID: Final = NOBODY.user_id
_JSON: Final = b"application/json"


class _NoQuery(RequestModel):
    """An operation that takes no parameters: a wish that it cannot fulfil is refused."""


class PathEndpoint:
    """All operations of one path, as an ASGI app."""

    def __init__(self, operations: Sequence[Operation], services: Services) -> None:
        self._services = services
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._allow = ", ".join(sorted(self._operations))
        self._is_public = all(operation.is_public for operation in operations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises Problem, CommandRejected and DatabaseError."""
        request = Request(scope, receive, send)
        exchange = exchange_of(scope)
        services = self._services
        exchange.ip = self._address_of(request)
        operation = self._operations.get(scope["method"])
        if operation is not None:
            exchange.wanted = operation.name
        caller = NOBODY if self._is_public else await self._admit(exchange)
        if operation is None:
            raise method_not_allowed(scope["method"], self._allow)
        exchange.operation, exchange.is_quiet = operation.name, operation.is_public
        if operation.scopes and caller.scopes.isdisjoint(operation.scopes):
            wanted = " or ".join(operation.scopes)
            raise forbidden(detail=f"The token lacks the scope {wanted}")
        call = await _call_of(services, operation, request, caller, exchange)
        response = await operation.handler(call)
        await response(scope, receive, send)

    def _address_of(self, request: Request) -> str | None:
        client = request.scope.get("client")
        trusted = self._services.settings.trusted_proxies
        forwarded = request.headers.getlist("x-forwarded-for") if trusted else ()
        return address_of(client[0] if client else None, forwarded, trusted)

    async def _admit(self, exchange: Exchange) -> Caller:
        """Return who asks, if its token holds and it does not ask too often."""
        services = self._services
        header = _text_of(exchange.given, b"authorization")
        caller = await services.authenticator.authenticate(header, exchange.ip)
        exchange.caller = caller.said
        limiter = services.limiter
        if limiter is not None:
            verdict = limiter.take(caller.token_id)
            exchange.headers = limiter.headers(verdict)
            if not verdict.is_allowed:
                detail = f"Too many requests; again in {verdict.retry_after_seconds} s"
                raise rate_limited(detail, exchange.headers)
        return caller


async def _call_of(
    services: Services, operation: Operation, request: Request, caller: Caller, exchange: Exchange
) -> Call[Any, Any]:
    object_id = _object_id(operation, request)
    query = None if operation.is_public else _query_of(operation.query, request)
    raw = b""
    body = None
    if operation.body is not None:
        _check_media_type(exchange.given)
        raw = await _read_body(request, services.settings.body_seconds)
        body = _body_of(operation, operation.body, raw)
    context = _context_of(caller, exchange)
    return Call(services, request, caller, context, object_id, body, raw, query)


def _object_id(operation: Operation, request: Request) -> Any:  # noqa: ANN401 - from the path
    for name, text in request.path_params.items():
        if name.endswith("_id"):
            found = parse_uuid(text)
            if found is None:
                raise not_found(operation.kind)
            return found
    return _NO_ID


def _text_of(given: Mapping[bytes, bytes], name: bytes) -> str | None:
    """Return what a header says, in the letters of HTTP."""
    value = given.get(name)
    return None if value is None else value.decode("latin-1")


def _context_of(caller: Caller, exchange: Exchange) -> Context:
    agent = _text_of(exchange.given, b"user-agent")
    return Context(
        actor_type="user",
        actor_id=caller.user_id,
        token_id=caller.token_id,
        ip=exchange.ip,
        user_agent=agent[:_USER_AGENT_LETTERS] if agent else None,
        request_id=exchange.request_id,
        correlation_id=exchange.correlation_id,
    )


def _query_of(model: type[BaseModel] | None, request: Request) -> BaseModel | None:
    """Return the query parameters; `label.k=v` becomes `label: {k: v}`."""
    if model is None and not request.scope["query_string"]:
        return None
    values: dict[str, Any] = {}
    for key, value in request.query_params.multi_items():
        if "\0" in key or "\0" in value:
            pointer = pointer_of((key.replace("\0", "\ufffd"),))
            raise invalid_field(pointer, "null_character", "A null character is not allowed")
        head, dot, rest = key.partition(".")
        place, name = (values.setdefault(head, {}), rest) if dot else (values, key)
        if not isinstance(place, dict) or name in place:
            pointer = pointer_of((key,))
            raise invalid_field(pointer, "duplicate_key", "The parameter occurs twice")
        place[name] = value
    try:
        return (model or _NoQuery).model_validate(values)
    except ValidationError as error:
        raise problem_of_validation(error) from None


def _body_of(operation: Operation, model: type[BaseModel], raw: bytes) -> Any:  # noqa: ANN401 - JSON
    content = {} if operation.body_is_optional and not raw.strip() else parse_object(raw)
    read = operation.read_body or model.model_validate
    try:
        return read(content)
    except ValidationError as error:
        raise problem_of_validation(error) from None


async def _read_body(request: Request, seconds: float) -> bytes:
    """Return the whole body, if it is small enough.

    That it arrives in `seconds` is seen to by the server, which cuts the line.
    """
    length = exchange_of(request.scope).given.get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_large(MAX_BODY_BYTES)
    body = bytearray()
    is_whole = False
    while not is_whole:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise request_timeout(seconds)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large(MAX_BODY_BYTES)
        is_whole = not message.get("more_body", False)
    return bytes(body)


def _check_media_type(given: Mapping[bytes, bytes]) -> None:
    """Refuse what says of itself that it is no JSON in UTF-8, as it stands."""
    said = given.get(b"content-type", _JSON)
    if said != _JSON:
        media_type, _, parameters = said.lower().partition(b";")
        charset = parameters.partition(b"charset=")[2].strip(b' "')
        if media_type.strip() != _JSON or charset not in {b"", b"utf-8", b"utf8"}:
            raise unsupported_media_type(said.decode("latin-1"))
    coding = given.get(b"content-encoding", b"identity")
    if coding != b"identity":
        raise unsupported_media_type(coding.decode("latin-1"))
