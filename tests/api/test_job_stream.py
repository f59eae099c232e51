"""The stream of one job's events: from its first to its last, for those who may see it."""

import asyncio

from reactorcide.api.services import Services
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.streaming import (
    durable,
    events_of,
    live,
    streamed,
)
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit


async def test_a_job_is_followed_from_its_first_event_to_its_last(
    services: Services, url: str
) -> None:
    """What happened, then what happens; with its final event the stream ends."""
    async with live(services, url, "una") as una:
        job_id = (await submit(una))["job_id"]
        path = f"/api/v1/jobs/{job_id}/events"
        async with streamed(una, path) as stream:
            first = await durable(stream, 1)
            await work.run(services, job_id)
            *rest, end = await stream.rest()
        assert [event.data for event in first + rest] == await events_of(una, job_id)
        assert (end.type, end.id, end.data) == (
            "end",
            None,
            {"status": "completed", "exit_code": 0},
        )
        async with streamed(una, path, last_id=rest[1].id) as stream:
            assert [event.id for event in await stream.rest()] == [rest[2].id, None]


async def test_a_job_of_somebody_else_is_not_followed(services: Services, url: str) -> None:
    """As its list is not shown; and an id that is none is refused."""
    async with live(services, url, "una") as una, live(services, url, "stranger") as stranger:
        job_id = (await submit(una))["job_id"]
        path = f"/api/v1/jobs/{job_id}/events"
        headers = {"Accept": "text/event-stream"}
        problem(await stranger.get(path, headers=headers), 404, "not_found")
        refused = await una.get(path, headers={**headers, "Last-Event-ID": "1-1"})
        problem(refused, 422, "invalid_input")


async def test_a_job_stream_ends_with_its_token(
    services: Services, url: str, admin: Client
) -> None:
    """Within a second, though the job goes on."""
    async with live(services, url, "una") as una:
        job_id = (await submit(una))["job_id"]
        token_id = (await una.get("/api/v1/me")).json()["token"]["token_id"]
        async with streamed(una, f"/api/v1/jobs/{job_id}/events") as stream:
            await durable(stream, 1)
            assert (await admin.delete(f"/api/v1/tokens/{token_id}")).status_code == 204
            async with asyncio.timeout(1):
                assert [event async for event in stream.events] == []
