"""The API as an ASGI app: from a path to what answers there, inside of the request's edge."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from reactorcide.api.edge import RequestEdge
from reactorcide.api.endpoint import PathEndpoint
from reactorcide.api.errors import not_found
from reactorcide.api.openapi import document
from reactorcide.api.operations import Operation
from reactorcide.api.services import Services
from reactorcide.api.settings import code_version
from reactorcide.api.table import OPERATIONS


def create_app(services: Services) -> ASGIApp:
    """Return the app. It opens nothing and closes nothing: `services` are the caller's."""
    return RequestEdge(Paths(OPERATIONS, services), services.metrics, services.accesses)


class Paths:
    """One endpoint per path: it is the path's to know its methods. An ASGI app for HTTP alone.

    A path without parameters is looked up; those with some are compared one after the other.
    """

    def __init__(self, operations: Iterable[Operation], services: Services) -> None:
        self.openapi: Final = _document()
        paths: dict[str, list[Operation]] = {}
        for operation in operations:
            paths.setdefault(operation.path, []).append(operation)
        endpoints = {path: PathEndpoint(rows, services) for path, rows in paths.items()}
        self._plain = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
        # What a `path` parameter means may hold slashes.
        self._routes = [
            Route(path.replace("{path}", "{path:path}"), endpoint)
            for path, endpoint in endpoints.items()
            if "{" in path
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises Problem for a path that is none of ours, token or not."""
        scope["app"] = self
        endpoint = self._plain.get(scope["path"])
        await (endpoint or self._matched(scope))(scope, receive, send)

    def _matched(self, scope: Scope) -> ASGIApp:
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return route.app
        raise not_found("path")


@cache
def _document() -> dict[str, Any]:
    """Return the description of all operations, of which a program has one: to be read only."""
    return document(OPERATIONS, code_version())
