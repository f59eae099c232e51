"""A way to a server on which nothing comes through any more, as when a router forgets it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit


class SilentLine:
    """A way to the server that can fall silent without anybody hanging up."""

    def __init__(self, folder: Path, uri: str) -> None:
        parts = urlsplit(uri)
        (where,) = parse_qs(parts.query)["host"]
        self.uri = urlunsplit(parts._replace(query=urlencode({"host": str(folder)})))
        self._folder = folder
        self._there = Path(where) / ".s.PGSQL.5432"
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    def fall_silent(self) -> None:
        """Let the present connections carry nothing any more; new ones work."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def hang_up(self) -> None:
        """End all connections."""
        self.fall_silent()
        for end in self._ends:
            end.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a caller through."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._there)
        self._ends += [writer, far_writer]
        self._tasks += [
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        ]

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def silent_line(uri: str) -> AsyncIterator[SilentLine]:
    """Lend a line to the server of `uri`, which speaks until it is told not to."""
    with tempfile.TemporaryDirectory() as folder:
        line = SilentLine(Path(folder), uri)
        async with await asyncio.start_unix_server(line.connect, Path(folder) / ".s.PGSQL.5432"):
            try:
                yield line
            finally:
                line.hang_up()
