"""Open streams of events, read one by one, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reactorcide.api.services import Services
from reactorcide.eventstore import store
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.test_follow import Event, Stream, parsed

PATH = "/api/v1/events/stream"


@asynccontextmanager
async def streamed(
    client: Client, path: str = PATH, *, after: int | None = None, last_id: str | None = None
) -> AsyncIterator[Stream]:
    """Open a stream of events."""
    headers = {"Accept": "text/event-stream"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    query = {} if after is None else {"after": after}
    async with client.stream("GET", path, params=query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Stream(answer, parsed(answer))


async def durable(stream: Stream, count: int) -> list[Event]:
    """Return the next so many events that have an id; fails after thirty seconds."""
    found: list[Event] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            event = await stream.next()
            if event.id is not None:
                found.append(event)
    return found


async def all_until(stream: Stream, position: int) -> list[dict[str, Any]]:
    """Return the data of all events, until a heartbeat says that they are all up to there.

    Fails after thirty seconds.
    """
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while True:
            event = await stream.next()
            if event.id is not None:
                found.append(event.data)
            elif event.type == "heartbeat" and event.data["position"] >= position:
                return found


@asynccontextmanager
async def live(
    services: Services, url: str, name: str, *roles: str, scopes: tuple[str, ...] | None = None
) -> AsyncIterator[Client]:
    """A client of a real server."""
    token, _ = await token_for(services, name, *roles, scopes=scopes)
    async with Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


async def latest(services: Services) -> int:
    """Return the log's last position."""
    return (await store.present(services.pool))[0]


async def events_of(client: Client, job_id: str) -> list[dict[str, Any]]:
    """Return a job's events as its list has them."""
    found: list[dict[str, Any]] = (await client.get(f"/api/v1/jobs/{job_id}/events")).json()[
        "events"
    ]
    return found
