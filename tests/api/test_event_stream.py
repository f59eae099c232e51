"""The stream of all events: order, resuming, who sees what, and how a stream ends."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.domain.worker import WORKER, RegisterWorker
from reactorcide.eventstore.handle import TransactionDoor, handle_new
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import workers
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.streaming import (
    PATH,
    all_until,
    durable,
    events_of,
    latest,
    live,
    streamed,
)
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit
from reactorcide.tests.eventstore.domain.samples import WORKER_REGISTERED


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """Signs of life come soon: they say up to where all has been told."""
    return replace(settings, heartbeat_seconds=0.05)


async def test_what_happens_is_told_as_it_happens(services: Services, url: str) -> None:
    """In order, with its position as id and its type as event, exactly as the job's list has it."""
    async with live(services, url, "una") as una, streamed(una) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        job_id = (await submit(una))["job_id"]
        first = await durable(stream, 1)
        await work.run(services, job_id)
        told = first + await durable(stream, 3)
        assert [event.data for event in told] == await events_of(una, job_id)
        assert [event.id for event in told] == [str(event.data["position"]) for event in told]
        assert [event.type for event in told] == [event.data["type"] for event in told]


async def test_a_stream_goes_on_right_behind_the_last_event(services: Services, url: str) -> None:
    """Wherever it broke; Last-Event-ID counts before `after`, and 0 is the beginning."""
    async with live(services, url, "una") as una:
        job_id = (await submit(una))["job_id"]
        await work.run(services, job_id)
        ids = [event["position"] for event in await events_of(una, job_id)]
        end = await latest(services)
        for nth, position in enumerate(ids):
            async with streamed(una, after=0, last_id=str(position)) as stream:
                rest = await all_until(stream, end)
            assert [event["position"] for event in rest] == ids[nth + 1 :]
            async with streamed(una, after=position) as stream:
                assert await all_until(stream, end) == rest
        async with streamed(una, after=0) as stream:
            whole = [event["position"] for event in await all_until(stream, end)]
        assert whole[-4:] == ids
        async with streamed(una) as stream:
            assert await all_until(stream, end) == []


@pytest.mark.parametrize("given", ["", "-1", "1.5", "x", "9" * 19, "9" * 18, "²"])
async def test_a_position_that_is_none_or_to_come_is_422(user: Client, given: str) -> None:
    """In the query and in the header alike."""
    refused = problem(await user.get(PATH, params={"after": given}), 422, "invalid_input")
    assert refused["errors"][0]["pointer"] == "/after"
    if given.isascii():
        problem(await user.get(PATH, headers={"Last-Event-ID": given}), 422, "invalid_input")


async def registered_worker(services: Services) -> str:
    """Return the id of a new worker."""
    worker_id = new_id()
    async with services.pool.acquire() as connection:
        door = TransactionDoor(connection, workers.rows)
        await handle_new(door, WORKER, worker_id, RegisterWorker(WORKER_REGISTERED), SYSTEM)
    return str(worker_id)


@pytest.mark.parametrize(
    ("who", "scopes", "sees"),
    [
        ("user", None, "own job, own token, self"),
        ("user", ("jobs:read",), "own job, self"),
        ("user", ("jobs:read", "tokens:manage"), "own job, own token, self"),
        ("operator", None, "own job, other job, worker, own token, self"),
        ("operator", ("jobs:read",), "own job, other job, worker, self"),
        ("user auditor", None, "everything"),
        ("user auditor", ("jobs:read",), "own job, other job, self"),
        ("admin", None, "everything"),
        ("admin", ("audit:read",), "everything"),
        ("admin", ("jobs:read",), "own job, other job, worker, self"),
    ],
)
async def test_each_sees_what_is_its_own_to_see(
    services: Services, url: str, who: str, scopes: tuple[str, ...] | None, sees: str
) -> None:
    """From the beginning and while it happens alike; a stranger's events never appear."""
    roles = who.split()
    async with (
        live(services, url, "stranger") as stranger,
        live(services, url, who, *roles, scopes=scopes) as client,
        live(services, url, who, *roles) as owner,
        streamed(client) as stream,
    ):
        began = await latest(services)
        own, other = (await submit(owner))["job_id"], (await submit(stranger))["job_id"]
        await work.run(services, own)
        await work.run(services, other)
        worker_id = await registered_worker(services)
        _, me = await token_for(services, who)
        _, strange = await token_for(services, "stranger")
        services.doorbell.ring("events")
        while_it_happens = await all_until(stream, await latest(services))
        async with streamed(client, after=0) as late:
            whole = await all_until(late, await latest(services))

    def what(event: dict[str, Any]) -> str:
        known = {own: "own job", other: "other job", worker_id: "worker", str(me): "self"}
        if event["stream_type"] == "token":
            return "own token" if event["data"]["user_id"] == str(me) else "other token"
        if event["stream_id"] == str(strange):
            return "other user"
        return known[event["stream_id"]]

    everything = "own job, other job, worker, own token, other token, self, other user"
    expected = set((everything if sees == "everything" else sees).split(", "))
    assert {what(event) for event in whole} == expected
    assert {what(event) for event in while_it_happens} == expected - {"self", "other user"}
    assert while_it_happens == [event for event in whole if event["position"] > began]


async def test_the_head_alone_opens_no_stream(user: Client) -> None:
    """A HEAD is answered at once."""
    answer = await user.head(PATH)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_token_without_a_fitting_scope_is_refused(services: Services, url: str) -> None:
    """With one that may only submit there is nothing to see."""
    async with live(services, url, "una", scopes=("jobs:write",)) as una:
        problem(await una.get(PATH), 403, "forbidden")


async def test_no_secret_is_told(services: Services, url: str) -> None:
    """Neither while it happens nor later."""
    async with live(services, url, "ada", "admin") as ada, streamed(ada) as stream:
        env = {"KEY": "swordfish", "PLAIN": "x"}
        await submit(ada, job_env_vars=env, secret_env_vars=["KEY"])
        (told,) = await durable(stream, 1)
        assert told.data["data"]["sealed_env_vars"] == {"KEY": "***"}
        assert "swordfish" not in json.dumps(told.data)


async def test_signs_of_life_have_no_id(services: Services, url: str) -> None:
    """So that nobody resumes behind what is no event."""
    async with live(services, url, "una") as una, streamed(una) as stream:
        beats = [await stream.next() for _ in range(3)]
        assert {(beat.type, beat.id) for beat in beats} == {("heartbeat", None)}
        assert beats[0].data["position"] == await latest(services)


async def test_revoking_a_token_ends_its_stream_within_a_second(
    services: Services, url: str, admin: Client
) -> None:
    """And what happens then is not told."""
    async with live(services, url, "una") as una, streamed(una) as stream:
        token_id = (await una.get("/api/v1/me")).json()["token"]["token_id"]
        await stream.next()
        assert (await admin.delete(f"/api/v1/tokens/{token_id}")).status_code == 204
        async with asyncio.timeout(1):
            rest = [event async for event in stream.events]
        assert {event.type for event in rest} <= {"heartbeat", "token.revoked"}


async def test_another_role_ends_the_stream(services: Services, url: str, admin: Client) -> None:
    """Who comes back sees what the new role sees."""
    async with live(services, url, "audrey", "auditor") as audrey, streamed(audrey) as stream:
        user_id = (await audrey.get("/api/v1/me")).json()["user"]["user_id"]
        path = f"/api/v1/users/{user_id}/roles"
        assert (await admin.put(path, json={"roles": ["user"]})).status_code == 200
        async with asyncio.timeout(1):
            assert [event async for event in stream.events]


async def test_a_server_that_stops_ends_its_streams_at_once(services: Services) -> None:
    """In well under a second, however many there are."""
    clock = asyncio.get_running_loop().time
    async with (
        serving(services) as url,
        live(services, url, "una") as una,
        AsyncExitStack() as opened,
    ):
        streams = [await opened.enter_async_context(streamed(una)) for _ in range(5)]
        for stream in streams:
            await stream.next()
        began = clock()
        services.events.close()
        await asyncio.gather(*(stream.rest() for stream in streams))
        assert clock() - began < 0.5


async def test_nothing_is_read_while_nobody_follows(services: Services, url: str) -> None:
    """And who comes later starts at its own now."""
    async with live(services, url, "una") as una:
        async with streamed(una) as stream:
            await submit(una)
            await durable(stream, 1)
        stood = services.events.position
        job_id = ""
        async with asyncio.timeout(5):
            while services.events._is_reading.is_set():  # noqa: SLF001  no other sign of it
                job_id = (await submit(una))["job_id"]
        await submit(una)
        assert services.events.position >= stood
        async with streamed(una) as stream:
            later = (await submit(una))["job_id"]
            (first,) = await durable(stream, 1)
            assert first.data["stream_id"] == later != job_id
