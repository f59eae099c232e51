"""The audit trail: every filter, every page, who may see it, and what was committed just now."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import pytest

from reactorcide.api.audit_views import AuditListView
from reactorcide.api.services import Services
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import Append, Context
from reactorcide.eventstore.store import append
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.eventstore.facts import a_fact

PATH: Final = "/api/v1/audit/events"


async def found(client: Client, **query: Any) -> list[dict[str, Any]]:
    """Return the events of one page."""
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    AuditListView.model_validate_json(answer.content)
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def submitted(client: Client, **headers: str) -> dict[str, Any]:
    """Submit a job; return it."""
    answer = await client.post("/api/v1/jobs", json=JOB, headers=headers)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


def types(events: list[dict[str, Any]]) -> list[str]:
    """Return what happened, newest first."""
    return [event["type"] for event in events]


async def test_what_was_committed_just_now_is_there(user: Client, auditor: Client) -> None:
    """With all that the event carries, in the envelope of a list."""
    job = await submitted(user, **{"X-Request-ID": "r-1", "User-Agent": "me"})
    answer = await auditor.get(PATH, params={"stream_id": job["job_id"]})
    content = answer.json()
    history = (await auditor.get(f"/api/v1/jobs/{job['job_id']}/events")).json()["events"]
    assert content == {
        "events": history[::-1],
        "total": None,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
        "archived_until": None,
    }
    newest = content["events"][0]
    assert newest["actor"]["id"] == job["user_id"]
    assert (newest["request_id"], newest["user_agent"]) == ("r-1", "me")


async def test_each_filter_lets_only_its_own_pass(
    services: Services, user: Client, stranger: Client, auditor: Client
) -> None:
    """The actor's id may be a user's, a token's or a worker's."""
    first = await submitted(user, **{"X-Request-ID": "the-first"})
    await submitted(stranger)
    await work.run(services, first["job_id"])
    async with services.pool.acquire() as connection:
        by_worker = Context("worker", new_id())
        one = Append("job", new_id(), 0, (a_fact("{}", "job.queued"),), by_worker)
        await append(connection, [one])
    everything = await found(auditor, limit=200)
    tokens = {event["actor"]["token_id"] for event in everything} - {None}
    worker = next(e["actor"]["id"] for e in everything if e["actor"]["type"] == "worker")
    middle = everything[len(everything) // 2]["recorded_at"]
    cases: list[tuple[Mapping[str, str], Any]] = [
        ({"actor": first["user_id"]}, lambda e: e["actor"]["id"] == first["user_id"]),
        ({"actor": worker}, lambda e: e["actor"]["id"] == worker),
        ({"actor": "system"}, lambda e: e["actor"]["type"] == "system"),
        ({"type": "job.queued"}, lambda e: e["type"] == "job.queued"),
        ({"stream_id": first["job_id"]}, lambda e: e["stream_id"] == first["job_id"]),
        ({"stream_type": "token"}, lambda e: e["stream_type"] == "token"),
        ({"stream_type": "job"}, lambda e: e["stream_type"] == "job"),
        ({"ip": "127.0.0.1"}, lambda e: e["ip"] == "127.0.0.1"),
        ({"request_id": "the-first"}, lambda e: e["request_id"] == "the-first"),
        ({"outcome": "success"}, lambda _: True),
        ({"since": middle}, lambda e: e["recorded_at"] >= middle),
        ({"until": middle}, lambda e: e["recorded_at"] < middle),
        (
            {"actor": first["user_id"], "type": "job.submitted"},
            lambda e: e["actor"]["id"] == first["user_id"] and e["type"] == "job.submitted",
        ),
    ]
    cases += [({"actor": t}, lambda e, t=t: e["actor"]["token_id"] == t) for t in tokens]
    for query, passes in cases:
        expected = [event for event in everything if passes(event)]
        assert expected, query
        assert await found(auditor, limit=200, **query) == expected, query


@pytest.mark.parametrize(
    "query",
    [
        {"actor": str(uuid4())},
        {"stream_id": str(uuid4())},
        {"ip": "2001:db8::1"},
        {"request_id": "nobody's"},
        {"since": "2999-01-01T00:00:00Z"},
        {"until": "2000-01-01T00:00:00Z"},
        {"outcome": "denied"},
        {"outcome": "refused"},
    ],
)
async def test_what_nothing_passes_is_empty(
    user: Client, auditor: Client, query: dict[str, str]
) -> None:
    """And no error."""
    await submitted(user)
    assert await found(auditor, **query) == []


async def test_pages_are_complete_while_others_write(user: Client, admin: Client) -> None:
    """Nothing twice, nothing left out of what was there, newest first."""
    for _ in range(10):
        await submitted(user)
    before = [event["position"] for event in await found(admin, limit=200)]
    stop = asyncio.Event()

    async def write_on() -> None:
        while not stop.is_set():
            await submitted(user)

    writer = asyncio.create_task(write_on())
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await admin.get(PATH, params=query)).json()
        seen += [event["position"] for event in page["events"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    stop.set()
    await writer
    assert seen == sorted(set(seen), reverse=True)
    assert set(before) <= set(seen)


async def test_pages_can_be_turned_by_offset(user: Client, auditor: Client) -> None:
    """As in every list."""
    await submitted(user)
    everything = await found(auditor)
    assert await found(auditor, offset=2, limit=1) == everything[2:3]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"actor": "somebody"}, "/actor"),
        ({"type": "job.complete"}, "/type"),
        ({"stream_id": "1"}, "/stream_id"),
        ({"stream_type": "jobs"}, "/stream_type"),
        ({"ip": "10.0.0.0/8"}, "/ip"),
        ({"ip": "fe80::1%eth0"}, "/ip"),
        ({"request_id": ""}, "/request_id"),
        ({"outcome": "failure"}, "/outcome"),
        ({"since": "yesterday"}, "/since"),
        ({"until": "2026-01-01"}, "/until"),
        ({"limit": "0"}, "/limit"),
        ({"limit": "201"}, "/limit"),
        ({"cursor": ""}, "/cursor"),
        ({"cursor": "?"}, "/cursor"),
        ({"cursor": "MA"}, "/cursor"),
        ({"cursor": "LTE"}, "/cursor"),
        ({"cursor": "NQ", "offset": "1"}, "/cursor"),
        ({"wish": "a"}, "/wish"),
    ],
)
async def test_a_malformed_question_is_422(
    auditor: Client, query: dict[str, str], pointer: str
) -> None:
    """With a pointer to what is wrong."""
    refused = problem(await auditor.get(PATH, params=query), 422, "invalid_input")
    assert refused["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("query", "nearest"),
    [
        ({"type": "job.complete"}, "job.completed"),
        ({"type": "token.revoke"}, "token.revoked"),
        ({"type": "job.canceled"}, "job.cancelled"),
        ({"stream_type": "jobs"}, "job"),
    ],
)
async def test_a_typo_is_told_the_nearest(
    auditor: Client, query: dict[str, str], nearest: str
) -> None:
    """An empty answer would look as if nothing had happened."""
    refused = problem(await auditor.get(PATH, params=query), 422, "invalid_input")
    assert refused["errors"][0]["message"] == f"Unknown; did you mean {nearest}?"


async def test_auditors_and_admins_see_it(
    services: Services, user: Client, operator: Client, auditor: Client, admin: Client
) -> None:
    """Nobody else does, nor a token without the scope."""
    for client in (user, operator):
        problem(await client.get(PATH), 403, "forbidden")
    for client in (auditor, admin):
        assert await found(client)
    for scope, status in (("audit:read", 200), ("jobs:read", 403)):
        token, _ = await token_for(services, "audrey", "auditor", scopes=(scope,))
        async with client_of(services, token) as narrow:
            assert (await narrow.get(PATH)).status_code == status


async def test_without_a_token_nothing_is_seen(anonymous: Client) -> None:
    """Not even that there is nothing."""
    problem(await anonymous.get(PATH), 401, "unauthorized")


async def test_secret_values_are_not_shown(user: Client, auditor: Client) -> None:
    """Not even sealed."""
    job = {**JOB, "job_env_vars": {"KEY": "hush"}, "secret_env_vars": ["KEY"]}
    assert (await user.post("/api/v1/jobs", json=job)).status_code == 201
    (event,) = await found(auditor, type="job.submitted")
    assert event["data"]["sealed_env_vars"] == {"KEY": "***"}


async def test_the_lag_is_in_the_metrics(user: Client, auditor: Client) -> None:
    """Of each projection: events, seconds, whether somebody runs it, whether it stopped."""
    await submitted(user)
    await found(auditor)
    text = (await auditor.get("/metrics")).text
    for name, value in (("lag_events", 0), ("lag_seconds", 0), ("followed", 1), ("stopped", 0)):
        line = f'reactorcide_projection_{name}{{projection="audit_events"}} {value:.1f}'
        assert line in text.splitlines()
