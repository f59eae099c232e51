"""A line between a client and a server that breaks when a test wants it to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE_BYTES = 65_536


@dataclass
class Line:
    """A TCP proxy. Nothing of HTTP is known here, but what arrives is kept to be looked at."""

    target: tuple[str, int]
    cuts: list[int] = field(default_factory=list)
    """For each of the next connections: after how many bytes of answers it is cut."""
    connections: int = 0
    requests: bytearray = field(default_factory=bytearray)
    url: str = ""
    _open: list[asyncio.StreamWriter] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def cut(self, *cuts: int) -> None:
        """Cut all that is open, and the next connections after so many bytes."""
        for writer in self._open:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self._open.clear()
        self.cuts = list(cuts)

    async def until(self, condition: Callable[["Line"], bool]) -> None:
        """Return when it holds. Raises TimeoutError after thirty seconds."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until one side ends it, or it is cut."""
        left = self.cuts.pop(0) if self.cuts else None
        self.connections += 1
        self._open.append(writer)
        await self._tell()
        server_reader, server_writer = await asyncio.open_connection(*self.target)
        asking = asyncio.create_task(self._ask(reader, server_writer))
        try:
            while piece := await server_reader.read(_PIECE_BYTES):
                writer.write(piece[:left])
                await writer.drain()
                left = None if left is None else left - len(piece)
                if left is not None and left <= 0:
                    return
        except ConnectionError:
            pass
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            writer.close()
            server_writer.close()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(_PIECE_BYTES):
                self.requests += piece
                await self._tell()
                server.write(piece)
                await server.drain()
            server.close()


@asynccontextmanager
async def cut_line(url: str, cuts: Sequence[int] = ()) -> AsyncIterator[Line]:
    """Lend a line to the server at `url`."""
    parts = urlsplit(url)
    line = Line((str(parts.hostname), parts.port or 80), list(cuts))
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
