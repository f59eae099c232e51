"""Delivery: milliseconds from an event's transaction to its arrival at a client of the stream.

Ours: a real API process; jobs are submitted over HTTP, by one caller and by 16 with pauses, then
by 16 without any, which is all that the process can do; one client follows `GET /events/stream`.
The database's clock says when the transaction began, so the figure holds the commit too; clock and
client are one machine's. The floor is one INSERT with NOTIFY at a time, and one listener that reads
the row.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg

from reactorcide.benchmarks.harness import percentile, report, run
from reactorcide.benchmarks.http_load import Client, post, requests_per_second
from reactorcide.benchmarks.servers import api

_JOBS: Final = 200
_GAP_SECONDS: Final = 0.02
_CALLERS: Final = 16
_PAUSE_SECONDS: Final = 0.15
_BUSY_SECONDS: Final = 3.0
_JOB: Final = json.dumps({"name": "noop", "job_command": "true"}).encode()


@asynccontextmanager
async def _following(port: int, token: str, found: list[float]) -> AsyncIterator[None]:
    """Follow the stream while the block lasts; add each event's milliseconds to `found`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    head = f"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")

    async def read() -> None:
        is_event, arrived = False, 0.0
        while line := await reader.readline():
            if line.startswith(b"id:"):
                is_event, arrived = True, time.time()
            elif is_event and line.startswith(b"data:"):
                is_event = False
                at = datetime.fromisoformat(json.loads(line[5:])["recorded_at"])
                found.append((arrived - at.timestamp()) * 1000)

    reading = asyncio.create_task(read())
    try:
        yield
        await asyncio.sleep(1)  # what is on its way
    finally:
        reading.cancel()
        writer.close()


async def _ours(uri: str, load: Callable[[int, bytes], Awaitable[Any]]) -> list[float]:
    found: list[float] = []
    async with api(uri) as (port, env):
        token = env["REACTORCIDE_API_TOKEN"]
        async with _following(port, token, found):
            await load(port, post("/api/v1/jobs", _JOB, token))
    return found


async def _one_at_a_time(port: int, request: bytes) -> None:
    async with Client(port) as client:
        for _ in range(_JOBS):
            await client.exchange(request)
            await asyncio.sleep(_GAP_SECONDS)


async def _many_with_pauses(port: int, request: bytes) -> None:
    async def call(number: int) -> None:
        await asyncio.sleep(_PAUSE_SECONDS * number / _CALLERS)
        async with Client(port) as client:
            for _ in range(_JOBS // 8):
                await client.exchange(request)
                await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*map(call, range(_CALLERS)))


async def _many(port: int, request: bytes) -> None:
    await requests_per_second(port, request, _CALLERS, _BUSY_SECONDS)


async def _floor(uri: str) -> list[float]:
    writer, listener = await asyncpg.connect(uri), await asyncpg.connect(uri)
    await writer.execute("CREATE TABLE told (id int PRIMARY KEY, at timestamptz DEFAULT now())")
    rung = asyncio.Event()
    await listener.add_listener("told", lambda *_: rung.set())
    found: list[float] = []
    for number in range(_JOBS):
        await writer.execute("INSERT INTO told VALUES ($1)", number)
        await writer.execute("NOTIFY told")
        await rung.wait()
        rung.clear()
        at = await listener.fetchval("SELECT at FROM told WHERE id = $1", number)
        found.append((time.time() - at.timestamp()) * 1000)
        await asyncio.sleep(_GAP_SECONDS)
    await writer.close()
    await listener.close()
    return found


async def measure(uri: str) -> None:
    """Measure all loads and the floor, one after the other."""
    loads = (
        ("1", _one_at_a_time),
        (f"{_CALLERS}, with pauses", _many_with_pauses),
        (f"{_CALLERS}", _many),
    )
    measured = [(callers, await _ours(uri, load)) for callers, load in loads]
    floor = await _floor(uri)
    cases = [
        {
            "callers": callers,
            "events": len(found),
            "percentile": percent,
            "ours": round(percentile(found, percent), 2),
            "floor": round(percentile(floor, percent), 2),
            "ratio": round(percentile(found, percent) / percentile(floor, percent), 2),
        }
        for callers, found in measured
        for percent in (50, 95, 99)
    ]
    report("stream", unit="ms", cases=cases)


if __name__ == "__main__":
    run(measure)
