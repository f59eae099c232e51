"""What guards the server itself: time limits, sizes, and a stop in good order."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from reactorcide.api.http_protocol import GuardedProtocol
from reactorcide.api.server import ApiServer
from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.serving import listening, serving
from reactorcide.tests.api.test_follow import follow
from reactorcide.tests.api.test_submit import submit
from reactorcide.tests.api.work import Piece


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """Shorter limits, so that a test does not wait for them."""
    return replace(settings, head_seconds=0.3, body_seconds=0.3)


@asynccontextmanager
async def line_to(
    services: Services,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to a server."""
    async with serving(services) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        async with asyncio.timeout(10):
            yield reader, writer
        writer.close()


@pytest.mark.parametrize(
    "begun", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: "]
)
async def test_a_head_that_does_not_come_ends_the_connection(
    services: Services, begun: bytes
) -> None:
    """Nothing, a part, or one that trickles in."""
    async with line_to(services) as (reader, writer):
        writer.write(begun)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"error":"request_timeout"' in answer


async def test_a_second_head_that_does_not_come_ends_the_connection(services: Services) -> None:
    """The limit holds for every request of a connection."""
    async with line_to(services) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        first = await reader.readuntil(b'{"status":"alive"}')
        assert first.startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /livez HT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_line_on_which_nothing_comes_any_more_is_cut(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from the last answer, however many there were."""
    seconds = property(lambda _: 0.5, lambda _, _given: None)  # instead of uvicorn's five
    monkeypatch.setattr(GuardedProtocol, "timeout_keep_alive", seconds, raising=False)
    async with line_to(services) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b'{"status":"alive"}')
        assert await reader.read() == b""


async def test_a_head_that_is_too_large_is_413(services: Services) -> None:
    """64 KiB are enough for a head."""
    async with line_to(services) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 70_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")


async def test_the_size_of_a_body_does_not_count_for_the_next_head(services: Services) -> None:
    """A large body, then a head in two pieces."""
    body = b"x" * 200_000
    length = str(len(body)).encode()
    async with line_to(services) as (reader, writer):
        writer.write(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\n\r\n")
        await writer.drain()
        writer.write(body)
        assert (await reader.readuntil(b"No such path")).startswith(b"HTTP/1.1 404 ")
        writer.write(b"GET /livez HTTP/1.1\r\n")
        await writer.drain()
        writer.write(b"Host: a\r\n\r\n")
        assert b"alive" in await reader.readuntil(b"alive")


async def test_what_is_no_http_is_400_in_the_one_shape(services: Services) -> None:
    """Also below the app."""
    async with line_to(services) as (reader, writer):
        writer.write(b"NONSENSE\r\n\r\n")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b'"error":"malformed_request"' in answer


async def test_a_body_that_does_not_come_is_408(services: Services) -> None:
    """And the connection ends."""
    token, _ = await token_for(services, "una")
    head = (
        "POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f'Authorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"name":'
    )
    async with line_to(services) as (reader, writer):
        writer.write(head.encode())
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"error":"request_timeout"' in answer


async def test_a_body_that_nobody_reads_must_come_too(services: Services) -> None:
    """Answered already, but the line is not held open for the rest."""
    head = b"POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    async with line_to(services) as (reader, writer):
        writer.write(head)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_slow_answer_is_not_cut(services: Services) -> None:
    """The limits are the request's: a stream outlives them."""
    token, _ = await token_for(services, "una")
    headers = {"Authorization": f"Bearer {token}"}
    async with serving(services) as url, Client(base_url=url, headers=headers) as client:
        job_id = (await submit(client))["job_id"]
        await work.start(services, job_id)
        async with follow(client, job_id) as stream:
            begun = time.monotonic()
            nth = 0
            while time.monotonic() - begun < 1:
                nth += 1
                await work.say(services, job_id, Piece(nth, b"a\n"))
                assert (await stream.next()).id == f"1-{nth}"


async def test_a_stop_ends_open_streams_and_answers_what_is_under_way(services: Services) -> None:
    """Soon, and with a whole last chunk."""
    token, _ = await token_for(services, "una")
    headers = {"Authorization": f"Bearer {token}"}
    bound = listening()
    server = ApiServer(services)
    running = asyncio.create_task(server.serve([bound]))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    async with Client(base_url=url, headers=headers) as client:
        job_id = (await submit(client))["job_id"]
        async with follow(client, job_id) as stream:
            begun = time.monotonic()
            server.stop()
            assert await stream.rest() == []
            await running
            assert time.monotonic() - begun < 3
