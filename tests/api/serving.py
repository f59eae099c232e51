"""A real server on a free port, for what only a connection can show."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reactorcide.api.server import ApiServer
from reactorcide.api.services import Services


def listening(send_buffer_bytes: int | None = None) -> socket.socket:
    """Return a socket that listens on a free port."""
    # With its protocol: only a socket that says TCP gets TCP_NODELAY, without which every answer
    # waits 40 ms for the acknowledgement of its head.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if send_buffer_bytes is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    bound.bind(("127.0.0.1", 0))
    bound.listen(128)
    bound.setblocking(False)  # noqa: FBT003 - the only way to say it
    return bound


@asynccontextmanager
async def serving(services: Services, send_buffer_bytes: int | None = None) -> AsyncIterator[str]:
    """Run a server while the block lasts; yield its URL."""
    bound = listening(send_buffer_bytes)
    server = ApiServer(services)
    running = asyncio.create_task(server.serve([bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.stop()
        async with asyncio.timeout(15):
            await running
