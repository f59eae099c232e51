"""Who was turned away, and who read what of others, is in the audit trail: aggregated."""

import asyncio
from dataclasses import replace
from typing import Any, Final

import asyncpg
import pytest
from starlette.types import ASGIApp, Message

from reactorcide.api.app import create_app
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.test_audit import PATH, found, submitted, types
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until

NOBODYS: Final = "018f0000-0000-7000-8000-000000000000"
BAD: Final = {"Authorization": "Bearer rct_ThisTextIsNobodysTokenAndMustNotBeKept"}
EVERYTHING: Final = (
    "SELECT e::text FROM events AS e UNION ALL SELECT a::text FROM audit_events AS a"
)


async def reported(services: Services, client: Client, **query: Any) -> list[dict[str, Any]]:
    """Return what the trail says when the minute is over."""
    await services.accesses.flush()
    return await found(client, **query)


async def bare(app: ASGIApp, path: str) -> int:
    """Ask with a bad token and nothing in between; return the answer's status."""
    statuses: list[int] = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> Message:
        return {"type": "http.request"}

    headers = [(b"authorization", BAD["Authorization"].encode())]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    scope |= {"headers": headers, "query_string": b"", "client": ("203.0.113.9", 1)}
    await app(scope, receive, send)
    await asyncio.sleep(0)
    return statuses[0]


async def test_a_bad_token_is_denied(
    services: Services, anonymous: Client, auditor: Client, connection: Connection
) -> None:
    """By nobody known, with the address and the first request's id; never with the token's text."""
    for request_id in ("first", "second"):
        headers = {**BAD, "X-Request-ID": request_id, "User-Agent": "probe/1"}
        await anonymous.get("/api/v1/jobs", headers=headers)
    (event,) = await reported(services, auditor, outcome="denied")
    data = event["data"]
    assert (event["type"], event["stream_type"], event["version"]) == ("access.denied", "access", 1)
    assert event["actor"] == {"type": "anonymous", "id": None, "token_id": None}
    seen = event["ip"], event["request_id"], event["user_agent"]
    assert seen == ("127.0.0.1", "first", "probe/1")
    assert (data["reason"], data["count"], data["operations"]) == ("bad_token", 2, ["listJobs"])
    assert data["first_at"] <= data["last_at"]
    texts = [row[0] for row in await connection.fetch(EVERYTHING)]
    assert not [text for text in texts if "ThisTextIsNobodys" in text]


async def test_ten_thousand_bad_requests_are_a_handful_of_events(
    services: Services, auditor: Client
) -> None:
    """Those that are limited count as well."""
    app = create_app(services)
    paths = ("/api/v1/tokens", "/api/v1/jobs")
    statuses = [await bare(app, paths[nth % 2]) for nth in range(10_000)]
    assert statuses[:60] == [401] * 60
    # One more is looked at for each second that it takes.
    assert statuses.count(429) > 9_000
    events = await reported(services, auditor, outcome="denied")
    (data,) = [event["data"] for event in events]
    assert (data["count"], data["operations"]) == (10_000, ["listTokens", "listJobs"])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no_token"),
        ({"Authorization": "Basic abc"}, "bad_header"),
        (BAD, "bad_token"),
    ],
)
async def test_the_reason_is_told(
    services: Services,
    anonymous: Client,
    auditor: Client,
    headers: dict[str, str],
    reason: str,
) -> None:
    """No header at all is no guess at a token."""
    await anonymous.get("/api/v1/me", headers=headers)
    (event,) = await reported(services, auditor, outcome="denied", actor="anonymous")
    assert event["data"]["reason"] == reason


async def test_a_missing_role_or_scope_is_denied(
    services: Services, user: Client, auditor: Client
) -> None:
    """With who it was; the scope is asked for before, the role inside of the operation."""
    me = (await user.get("/api/v1/me")).json()
    assert (await user.get(PATH)).status_code == 403
    assert (await user.get("/api/v1/users")).status_code == 403
    token, _ = await token_for(services, "una", scopes=("jobs:read",))
    async with client_of(services, token) as narrow:
        assert (await narrow.post("/api/v1/jobs", json=JOB)).status_code == 403
    newer, older = await reported(services, auditor, outcome="denied")
    assert newer["actor"]["id"] == older["actor"]["id"] == me["user"]["user_id"]
    by_token = {e["actor"]["token_id"]: e["data"]["operations"] for e in (newer, older)}
    assert by_token.pop(me["token"]["token_id"]) == ["listAuditEvents", "listUsers"]
    assert list(by_token.values()) == [["submitJob"]]


async def test_what_does_not_fit_the_state_is_refused(
    services: Services, user: Client, admin: Client
) -> None:
    """A conflict; and it is none of the denials."""
    job = await submitted(user)
    for _ in range(3):
        await user.post(f"/api/v1/jobs/{job['job_id']}/cancel")
    await user.post(f"/api/v1/jobs/{job['job_id']}/cancel", headers={"X-Request-ID": "late"})
    await admin.post("/api/v1/users", json={"username": "ada"})
    events = await reported(services, admin, outcome="refused")
    told = {(e["data"]["reason"], *e["data"]["operations"], e["data"]["count"]) for e in events}
    assert told == {("conflict", "cancelJob", 3), ("conflict", "registerUser", 1)}
    assert await found(admin, outcome="denied") == []
    assert await found(admin, type="access.refused") == events


async def test_what_is_somebody_elses_is_denied_and_what_is_nobodys_is_not(
    services: Services, user: Client, stranger: Client, auditor: Client
) -> None:
    """The answers are alike but for the path; only the trail tells them apart."""
    job = await submitted(user)
    token_id = (await user.get("/api/v1/me")).json()["token"]["token_id"]
    tried = [f"jobs/{job['job_id']}{part}" for part in ("", "/logs", "/diff?from=1&to=1")]
    for path in (*tried, f"tokens/{token_id}"):
        hidden = await stranger.get(f"/api/v1/{path}")
        unknown = await stranger.get(f"/api/v1/{path.replace(path.split('/')[1][:36], NOBODYS)}")
        same = {"instance", "request_id"}
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.headers.keys() == unknown.headers.keys()
        told = ({k: v for k, v in one.json().items() if k not in same} for one in (hidden, unknown))
        assert next(told) == next(told)
    (event,) = await reported(services, auditor, stream_type="access")
    me = (await stranger.get("/api/v1/me")).json()["user"]["user_id"]
    assert (event["type"], event["actor"]["id"]) == ("access.denied", me)
    assert (event["data"]["reason"], event["data"]["count"]) == ("hidden", 4)
    assert event["data"]["operations"] == ["getJob", "getJobLogs", "diffJob", "getToken"]


async def test_what_is_wrong_otherwise_is_not_recorded(
    services: Services, user: Client, auditor: Client
) -> None:
    """Invalid input, what is not there, and what is gone."""
    await user.post("/api/v1/jobs", json={})
    await user.get(f"/api/v1/jobs/{NOBODYS}/logs")
    await user.get("/api/v1/nowhere")
    assert await reported(services, auditor, stream_type="access") == []


async def test_reads_by_others_are_recorded(
    services: Services, user: Client, operator: Client, auditor: Client
) -> None:
    """Per caller and job, however many requests it takes; the owner's are not."""
    first, second = await submitted(user), await submitted(user)
    await work.run(services, first["job_id"])
    path = f"/api/v1/jobs/{first['job_id']}"
    for client in (user, operator, auditor):
        for query in ({}, {"tail": 3}, {"stream": "stdout"}):
            assert (await client.get(f"{path}/logs", params=query)).status_code == 200
    await user.get(f"{path}/artifacts")
    await operator.get(f"{path}/artifacts")
    await operator.get(f"/api/v1/jobs/{second['job_id']}/logs")
    events = await reported(services, auditor, stream_type="access")
    me = (await operator.get("/api/v1/me")).json()["user"]["user_id"]
    by_operator = [e for e in events if e["actor"]["id"] == me]
    told = {(e["type"], e["data"]["job_id"], e["data"]["count"]) for e in by_operator}
    assert told == {
        ("access.log_read", first["job_id"], 3),
        ("access.artifact_read", first["job_id"], 1),
        ("access.log_read", second["job_id"], 1),
    }
    assert len(events) == 4  # and the auditor's
    assert len(await found(auditor, job_id=first["job_id"])) == 3
    assert types(await found(auditor, job_id=first["job_id"], type="access.artifact_read")) == [
        "access.artifact_read"
    ]
    assert {e["data"]["job_id"] for e in events if e["actor"]["id"] != me} == {first["job_id"]}
    assert all(event["data"]["operations"] for event in events)


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("access.deny", "access.denied"), ("access.read", "access.log_read")],
)
async def test_a_typo_in_a_new_type_is_told_the_nearest(
    auditor: Client, typo: str, nearest: str
) -> None:
    """An empty answer would look as if nobody had tried."""
    answer = await auditor.get(PATH, params={"type": typo})
    assert answer.json()["errors"][0]["message"] == f"Unknown; did you mean {nearest}?"


async def test_what_was_counted_is_recorded_at_the_end(
    settings: ApiSettings, connection: Connection
) -> None:
    """A process that stops writes what it has; another's is not touched."""
    async with open_services(settings) as other:
        async with (
            open_services(settings) as services,
            client_of(services, None) as client,
            client_of(other, None) as elsewhere,
        ):
            await client.get("/api/v1/jobs", headers=BAD)
            await elsewhere.get("/api/v1/jobs", headers=BAD)
        query = "SELECT sum((data ->> 'count')::int) FROM events WHERE type = 'access.denied'"
        assert await connection.fetchval(query) == 1
    assert await connection.fetchval(query) == 2


async def test_what_the_database_does_not_take_is_written_later(
    settings: ApiSettings, connection: Connection
) -> None:
    """Once, with the time at which it was seen."""
    settings = replace(settings, pool_size=2)
    async with open_services(settings) as services, client_of(services, None) as client:
        await client.get("/api/v1/jobs", headers=BAD)
        await connection.execute("ALTER TABLE events RENAME TO hidden")
        await services.accesses.flush()
        await connection.execute("ALTER TABLE hidden RENAME TO events")
        for _ in range(2):
            await services.accesses.flush()
    query = "SELECT count(*) FROM events WHERE type = 'access.denied'"
    assert await connection.fetchval(query) == 1


async def test_the_database_refuses_to_change_a_report(
    services: Services, anonymous: Client, connection: Connection
) -> None:
    """It is an event like any other."""
    await anonymous.get("/api/v1/jobs", headers=BAD)
    await services.accesses.flush()
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("DELETE FROM events WHERE type = 'access.denied'")


async def test_the_minute_is_recorded_when_it_is_over(
    settings: ApiSettings, connection: Connection
) -> None:
    """Without anybody asking for it."""
    settings = replace(settings, accesses_seconds=0.05)
    query = "SELECT count(*) FROM events WHERE type = 'access.denied'"
    async with open_services(settings) as services, client_of(services, None) as client:
        await client.get("/api/v1/jobs", headers=BAD)

        async def is_there() -> bool:
            return bool(await connection.fetchval(query))

        await until(is_there, 30)
