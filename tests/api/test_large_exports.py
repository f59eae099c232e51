"""A large file of the audit trail takes little memory, and one that breaks off says so."""

import json
import resource
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import httpx2
import pytest

from reactorcide.api.exports import export
from reactorcide.api.services import open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore import store
from reactorcide.projections import audit_events
from reactorcide.tests.api.conftest import Client, token_for
from reactorcide.tests.api.exporting import MANY, PATH, exported
from reactorcide.tests.api.serving import serving
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until

EVENTS: Final = 5000
BROKEN_OFF: Final = """
SELECT data::text FROM events WHERE type = 'access.exported' AND data ->> 'is_whole' = 'false'"""
FOLLOWED: Final = "INSERT INTO checkpoints (name, position) VALUES ('audit_events', $1)"


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """An API that signs."""
    return replace(settings, log_key=bytes(range(32)))


async def test_an_export_that_the_client_breaks_off_is_an_event(
    many: int, settings: ApiSettings, connection: Connection
) -> None:
    """With what was handed out by then."""
    async with open_services(settings) as services, serving(services, 65_536) as url:
        token, _ = await token_for(services, "ada", "admin")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            query = {"format": "ndjson", "to": str(many)}
            async with client.stream("GET", PATH, params=query) as answer:
                await anext(answer.aiter_raw(4096))

            async def is_recorded() -> bool:
                return bool(await connection.fetchval(BROKEN_OFF))

            await until(is_recorded, 30)
    data = json.loads(await connection.fetchval(BROKEN_OFF))
    assert 0 < data["events"] < EVENTS
    assert data["to"] == many > data["last_position"]


@pytest.fixture
async def many(connection: Connection) -> int:
    """A log of 5,000 events, followed by the trail; return the last position."""
    await connection.execute(MANY, EVENTS)
    last, _ = await store.present(connection)
    await audit_events.SUBSCRIPTION.write(connection, 0, last)
    await connection.execute(FOLLOWED, last)
    return last


async def counted(answer: AsyncIterator[bytes], then: Callable[[], Any] | None = None) -> int:
    """Return how many records come, and do something after the first."""
    records = 0
    async for piece in answer:
        records += piece.count(b"\n")
        if then is not None:
            await then()
            then = None
    return records


async def test_a_file_takes_little_memory(many: int, settings: ApiSettings) -> None:
    """35 MB go through a process that grows by a fraction of them."""
    unsealed = replace(settings, log_key=None)
    async with open_services(unsealed) as services, serving(services) as url:
        token, _ = await token_for(services, "audrey", "auditor")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            await exported(client, "ndjson", to=1)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            query = {"format": "ndjson", "to": str(many)}
            async with client.stream("GET", PATH, params=query) as answer:
                assert await counted(answer.aiter_bytes()) == EVENTS
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # kilobytes


async def test_a_file_ends_with_the_token(
    many: int, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks off, and so does not look like a whole one."""
    monkeypatch.setattr(export, "_RECHECK_SECONDS", 0)
    async with open_services(settings) as services, serving(services, 65_536) as url:
        token, _ = await token_for(services, "ada", "admin")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            token_id = (await client.get("/api/v1/me")).json()["token"]["token_id"]

            async def revoke() -> None:
                async with Client(base_url=url, headers=headers, timeout=60) as other:
                    answer = await other.delete(f"/api/v1/tokens/{token_id}")
                    assert answer.status_code == 204, answer.text

            query = {"format": "ndjson", "to": str(many)}
            with pytest.raises(httpx2.RemoteProtocolError):
                async with client.stream("GET", PATH, params=query) as answer:
                    await counted(answer.aiter_raw(4096), revoke)
