"""Readers of the event stream that take too little: dropped, cut off, and nothing lost."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest

from reactorcide.api.services import open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.streaming import (
    PATH,
    all_until,
    latest,
    live,
    streamed,
)
from reactorcide.tests.eventstore.waiting import until


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """Signs of life come soon: they say up to where all has been told."""
    return replace(settings, heartbeat_seconds=0.05)


async def test_a_slow_reader_is_dropped_and_loses_nothing(settings: ApiSettings) -> None:
    """It is told where to go on; what is kept for it meanwhile has a limit."""
    async with (
        open_services(replace(settings, stream_buffer_bytes=50_000)) as services,
        serving(services, send_buffer_bytes=4096) as url,
        live(services, url, "una") as una,
        reading(url, una) as slow,
    ):
        jobs = [{"name": "n", "job_command": "true", "description": "d" * 4000}] * 10
        for nth in range(1, 101):
            answer = await una.post("/api/v1/jobs/batch", json={"jobs": jobs})
            assert answer.status_code == 201
            if nth > 50 and all(one.is_dropped for one in services.events._followers):  # noqa: SLF001
                break
        events = await slow.rest()
        assert (events[-1]["event"], "id" in events[-1]) == ("dropped", False)
        seen = [event["id"] for event in events if "id" in event]
        resume_after = json.loads(events[-1]["data"])["resume_after"]
        assert resume_after >= int(seen[-1])
        end = await latest(services)
        async with streamed(una, after=0) as stream:
            whole = await all_until(stream, end)
        async with streamed(una, after=resume_after) as stream:
            rest = await all_until(stream, end)
        told = [event["position"] for event in whole if event["stream_type"] == "job"]
        assert len(told) == nth * 10
        assert [*map(int, seen), *(event["position"] for event in rest)] == told
        assert rest


async def test_a_client_that_takes_nothing_is_cut_off(settings: ApiSettings) -> None:
    """It would hold its connection for ever."""
    async with (
        open_services(replace(settings, stalled_seconds=1)) as services,
        serving(services, send_buffer_bytes=4096) as url,
        live(services, url, "una") as una,
    ):

        async def is_dropped() -> bool:
            return not services.events._followers  # noqa: SLF001  no other sign of it

        jobs = [{"name": "n", "job_command": "true", "description": "d" * 4000}] * 10
        for _ in range(30):
            assert (await una.post("/api/v1/jobs/batch", json={"jobs": jobs})).status_code == 201
        async with reading(url, una, "?after=0") as slow:
            await until(is_dropped)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await slow.rest()


@dataclass(frozen=True)
class Reading:
    """A raw connection that reads when it is told to."""

    reader: asyncio.StreamReader

    async def rest(self) -> list[dict[str, str]]:
        """Return all events, to the end of the answer."""
        body = b""
        async with asyncio.timeout(10):
            while size := int(await self.reader.readline() or b"-1", 16):
                if size < 0:
                    raise ConnectionResetError
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        parts = body.decode().split("\n\n")
        events = [dict(line.split(": ", 1) for line in part.split("\n")) for part in parts if part]
        return [event for event in events if event.get("event") not in {None, "heartbeat"}]


@asynccontextmanager
async def reading(url: str, client: Client, query: str = "") -> AsyncIterator[Reading]:
    """Ask for a stream, and read the head alone."""
    host, port = url.removeprefix("http://").split(":")
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.setblocking(False)  # noqa: FBT003  the only way to say it
    await asyncio.get_running_loop().sock_connect(opened, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=opened, limit=4096)
    token = client.headers["authorization"]
    head = f"GET {PATH}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield Reading(reader)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
