"""Following a log over a real connection: nothing skipped, nothing twice, to the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest

from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.domain.job import CancelJob, Cancelled, Failed
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit
from reactorcide.tests.api.work import Piece


@dataclass
class Event:
    """One server-sent event."""

    type: str = "message"
    id: str | None = None
    data: Any = None


@dataclass
class Stream:
    """An open stream: its events one by one."""

    answer: httpx2.Response
    events: AsyncIterator[Event]

    async def next(self) -> Event:
        """Return the next event; fails after ten seconds."""
        async with asyncio.timeout(10):
            return await anext(self.events)

    async def rest(self) -> list[Event]:
        """Return all events until the server ends the stream."""
        async with asyncio.timeout(10):
            return [event async for event in self.events]


async def parsed(answer: httpx2.Response) -> AsyncIterator[Event]:
    """Yield the events of an answer, comments left out."""
    event = Event()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        match name:
            case "event":
                event.type = value
            case "id":
                event.id = value
            case "data":
                event.data = json.loads(value)
            case "" if not line and event.data is not None:
                yield event
                event = Event()
            case _:
                pass


@pytest.fixture
async def live(services: Services) -> AsyncIterator[Client]:
    """A plain user's client of a real server."""
    token, _ = await token_for(services, "una")
    async with (
        serving(services) as url,
        Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client,
    ):
        yield client


@asynccontextmanager
async def follow(
    client: Client, job_id: str, query: str = "", **headers: str
) -> AsyncIterator[Stream]:
    """Open a stream."""
    wanted = {"Accept": "text/event-stream", **headers}
    path = f"/api/v1/jobs/{job_id}/logs{query}"
    async with client.stream("GET", path, headers=wanted) as answer:
        assert answer.status_code == 200
        yield Stream(answer, parsed(answer))


async def test_a_log_is_followed_from_before_its_start_to_its_end(
    services: Services, live: Client
) -> None:
    """Each piece as it is printed, over two attempts; the last event tells how it ended."""
    job_id = (await submit(live, max_attempts=2, retry_backoff_seconds=0))["job_id"]
    async with follow(live, job_id) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        await work.start(services, job_id)
        await work.say(services, job_id, Piece(1, b"first\n"))
        event = await stream.next()
        assert (event.type, event.id) == ("log", "1-1")
        assert event.data.pop("at")
        assert event.data == {"seq": 1, "attempt": 1, "stream": "stdout", "data": "first\n"}
        await work.say(services, job_id, Piece(2, b"oops\n", "stderr"))
        assert (await stream.next()).data["stream"] == "stderr"
        await work.finish(services, job_id, Failed(1, "exit code 1"))
        await work.start(services, job_id, 2)
        await work.say(services, job_id, Piece(1, b"\xff", attempt=2))
        event = await stream.next()
        assert (event.id, event.data["data_base64"]) == ("2-1", "/w==")
        await work.finish(services, job_id, Failed(7, "exit code 7"), 2)
        (end,) = await stream.rest()
        assert (end.type, end.data) == ("end", {"status": "failed", "exit_code": 7})


async def test_a_stream_goes_on_behind_the_last_event_seen(
    services: Services, live: Client
) -> None:
    """Nothing skipped, nothing twice; of an ended job too."""
    job_id = (await submit(live))["job_id"]
    await work.start(services, job_id)
    await work.say(services, job_id, *(Piece(nth, b"%d\n" % nth) for nth in range(1, 6)))
    async with follow(live, job_id, **{"Last-Event-ID": "1-3"}) as stream:
        assert (await stream.next()).id == "1-4"
    await work.finish(services, job_id)
    async with follow(live, job_id, **{"Last-Event-ID": "1-4"}) as stream:
        assert [event.id for event in await stream.rest()] == ["1-5", None]
    async with follow(live, job_id) as stream:
        assert [event.type for event in await stream.rest()] == ["log"] * 5 + ["end"]


async def test_a_stream_may_start_near_the_end_and_keep_to_one_stream(
    services: Services, live: Client
) -> None:
    """`tail` and `stream` as in the text."""
    job_id = (await submit(live))["job_id"]
    await work.start(services, job_id)
    await work.say(services, job_id, Piece(1, b"a\n"), Piece(2, b"b\n"), Piece(3, b"!\n", "stderr"))
    async with follow(live, job_id, "?tail=1&stream=stdout") as stream:
        assert (await stream.next()).data["data"] == "b\n"
        await work.say(services, job_id, Piece(4, b"?\n", "stderr"), Piece(5, b"c\n"))
        assert (await stream.next()).data["data"] == "c\n"


async def test_one_attempt_is_followed_to_its_own_end(services: Services, live: Client) -> None:
    """Though the job goes on."""
    job_id = (await submit(live, max_attempts=2, retry_backoff_seconds=600))["job_id"]
    await work.start(services, job_id)
    async with follow(live, job_id, "?attempt=1") as stream:
        await work.say(services, job_id, Piece(1, b"a\n"))
        assert (await stream.next()).data["data"] == "a\n"
        await work.finish(services, job_id, Failed(1, "exit code 1"))
        (end,) = await stream.rest()
        assert end.data["status"] == "queued"


async def test_a_cancelled_job_ends_its_streams(services: Services, live: Client) -> None:
    """Whether it ran or not."""
    queued, running = (await submit(live))["job_id"], (await submit(live))["job_id"]
    await work.start(services, running)
    async with follow(live, queued) as first, follow(live, running) as second:
        assert (await live.post(f"/api/v1/jobs/{queued}/cancel")).status_code == 200
        assert (await first.rest())[-1].data == {"status": "cancelled", "exit_code": None}
        await work.command(services, running, CancelJob())
        await work.finish(services, running, Cancelled(143))
        assert (await second.rest())[-1].data == {"status": "cancelled", "exit_code": 143}


@pytest.mark.parametrize("given", ["", "1", "1-", "-1-1", "1-1-1", "x-y", "9999999999-1"])
async def test_a_last_event_id_that_is_none_of_ours_is_422(
    services: Services, user: Client, given: str
) -> None:
    """Better than to begin somewhere."""
    job_id = (await submit(user))["job_id"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": given}
    answer = await user.get(f"/api/v1/jobs/{job_id}/logs", headers=headers)
    problem(answer, 422, "invalid_input")
    assert not services.feed.is_closing


async def test_revoking_a_token_ends_its_streams_within_a_second(
    services: Services, live: Client, admin: Client
) -> None:
    """Without an end event: the job runs on."""
    job_id = (await submit(live))["job_id"]
    token_id = (await live.get("/api/v1/me")).json()["token"]["token_id"]
    async with follow(live, job_id) as stream:
        await work.start(services, job_id)
        await work.say(services, job_id, Piece(1, b"a\n"))
        await stream.next()
        assert (await admin.delete(f"/api/v1/tokens/{token_id}")).status_code == 204
        async with asyncio.timeout(1):
            assert [event async for event in stream.events] == []


async def test_many_streams_of_one_job_hear_the_same(services: Services, live: Client) -> None:
    """Each of them all of it."""
    job_id = (await submit(live))["job_id"]

    async def listen() -> list[str | None]:
        async with follow(live, job_id) as stream:
            return [event.id for event in await stream.rest()]

    async with asyncio.timeout(20):
        listening = [asyncio.create_task(listen()) for _ in range(10)]
        await work.start(services, job_id)
        for nth in range(1, 31):
            await work.say(services, job_id, Piece(nth, b"%d\n" % nth))
        await work.finish(services, job_id)
        for heard in await asyncio.gather(*listening):
            assert heard == [f"1-{nth}" for nth in range(1, 31)] + [None]


async def test_a_quiet_stream_gives_signs_of_life(settings: ApiSettings) -> None:
    """Comments, which are no events, so that nobody in between gives up."""
    async with open_services(replace(settings, heartbeat_seconds=0)) as services:
        token, _ = await token_for(services, "una")
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        async with serving(services) as url, Client(base_url=url, headers=headers) as client:
            job_id = (await submit(client))["job_id"]
            async with client.stream("GET", f"/api/v1/jobs/{job_id}/logs") as answer:
                async with asyncio.timeout(10):
                    async for line in answer.aiter_lines():
                        if line.startswith(":"):
                            break
                assert (await client.post(f"/api/v1/jobs/{job_id}/cancel")).is_success
