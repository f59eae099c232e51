"""The API under uvicorn: how `serve` runs it. Knows no operation."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from reactorcide.api.app import create_app
from reactorcide.api.http_protocol import GuardedProtocol
from reactorcide.api.services import Services


class ApiServer(uvicorn.Server):
    """A server that ends open streams when it begins to stop, and leaves signals to its caller."""

    def __init__(self, services: Services, grace_seconds: int = 10) -> None:
        settings = services.settings
        limits = {
            "head_seconds": settings.head_seconds,
            "body_seconds": settings.body_seconds,
            "stalled_seconds": settings.stalled_seconds,
        }
        protocol = type("Protocol", (GuardedProtocol,), limits)
        super().__init__(
            uvicorn.Config(
                create_app(services),
                http=protocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new requests, end the streams, let the others be answered."""
        self._services.feed.close()
        self._services.events.close()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Begin to stop; `serve` returns when that is done."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the entry point has its own handlers, and calls `stop`."""
        yield
