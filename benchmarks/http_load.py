"""A load of plain HTTP/1.1 requests from one loop: as little client as there can be.

Keep-alive connections, one request under way on each, prepared bytes out, only the status line
and Content-Length read. The client shares the machine with the server under test; the leaner
it is, the less it blurs the ratio.
"""

import asyncio
import time
from typing import Final, Self

_HEAD_END: Final = b"\r\n\r\n"


class LoadError(RuntimeError):
    """The server answered something else than expected."""


def post(path: str, body: bytes, token: str | None = None) -> bytes:
    """Return the bytes of one POST of JSON."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + _HEAD_END + body


class Client:
    """One keep-alive connection. Use it as an async context manager."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        self._writer.close()

    async def exchange(self, request: bytes) -> bytes:
        """Send a request, return the body of its answer. Raises LoadError unless it is 201."""
        self._writer.write(request)
        head = await self._reader.readuntil(_HEAD_END)
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start : lower.index(b"\r\n", start)])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 201"):
            raise LoadError((head + body).decode(errors="replace"))
        return body


async def requests_per_second(port: int, request: bytes, clients: int, seconds: float) -> float:
    """Send `request` over `clients` connections for `seconds`; every answer must be 201."""

    async def send(until: float) -> int:
        sent = 0
        async with Client(port) as client:
            while time.perf_counter() < until:
                await client.exchange(request)
                sent += 1
        return sent

    start = time.perf_counter()
    counts = await asyncio.gather(*[send(start + seconds) for _ in range(clients)])
    return sum(counts) / (time.perf_counter() - start)
