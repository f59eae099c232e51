"""A load of plain HTTP/1.1 requests from one loop: as little client as there can be.

Keep-alive connections, one request under way on each, prepared bytes out, only the status line
and Content-Length read. The client shares the machine with the server under test; the leaner
it is, the less it blurs the ratio.
"""

import asyncio
import time
from typing import Final

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


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> None:
    writer.write(request)
    head = await reader.readuntil(_HEAD_END)
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    length = int(lower[start : lower.index(b"\r\n", start)])
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 201"):
        raise LoadError((head + body).decode(errors="replace"))


async def requests_per_second(port: int, request: bytes, clients: int, seconds: float) -> float:
    """Send `request` over `clients` connections for `seconds`; every answer must be 201."""

    async def client(until: float) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        try:
            while time.perf_counter() < until:
                await _exchange(reader, writer, request)
                sent += 1
        finally:
            writer.close()
        return sent

    start = time.perf_counter()
    counts = await asyncio.gather(*[client(start + seconds) for _ in range(clients)])
    return sum(counts) / (time.perf_counter() - start)
