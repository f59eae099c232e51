"""A real server on a free port, for what only a connection can show."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reactorcide.api.server import ApiServer
from reactorcide.api.services import Services


def listening() -> socket.socket:
    """Return a socket that listens on a free port."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(128)
    bound.setblocking(False)  # noqa: FBT003 - the only way to say it
    return bound


@asynccontextmanager
async def serving(services: Services) -> AsyncIterator[str]:
    """Run a server while the block lasts; yield its URL."""
    bound = listening()
    server = ApiServer(services)
    running = asyncio.create_task(server.serve([bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.stop()
        async with asyncio.timeout(15):
            await running
