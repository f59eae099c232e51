"""The API as an ASGI app: the table's operations inside of the request's edge."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reactorcide.api.edge import RequestEdge, problem_response
from reactorcide.api.endpoint import PathEndpoint
from reactorcide.api.errors import not_found
from reactorcide.api.exchange import exchange_of
from reactorcide.api.openapi import document
from reactorcide.api.operations import Operation
from reactorcide.api.services import Services
from reactorcide.api.settings import code_version
from reactorcide.api.table import OPERATIONS


def create_app(services: Services) -> Starlette:
    """Return the app. It opens nothing and closes nothing: `services` are the caller's."""
    app = Starlette(
        routes=routes(OPERATIONS, services),
        middleware=[Middleware(RequestEdge, metrics=services.metrics, accesses=services.accesses)],
        exception_handlers={HTTPException: _no_such_path},
    )
    app.router.redirect_slashes = False
    app.state.openapi = _document()
    return app


@cache
def _document() -> dict[str, Any]:
    """Return the description of all operations, of which a program has one: to be read only."""
    return document(OPERATIONS, code_version())


def routes(operations: Iterable[Operation], services: Services) -> list[Route]:
    """Return one route per path: it is the path's to know its methods."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)
    # What a `path` parameter means may hold slashes.
    return [
        Route(path.replace("{path}", "{path:path}"), PathEndpoint(rows, services))
        for path, rows in paths.items()
    ]


async def _no_such_path(request: Request, _error: Exception) -> Response:
    """Answer for a path that is none of ours, with or without a token."""
    return problem_response(not_found("path"), request.url.path, exchange_of(request.scope))
