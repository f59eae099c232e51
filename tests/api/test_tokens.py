"""Tokens: shown once, never more than their giver has, gone when revoked."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from reactorcide.api.account_views import NewTokenView, TokenListView, TokenView
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem

DAY = timedelta(days=1)


async def issue(client: Client, **fields: Any) -> dict[str, Any]:
    """Make a token and return the answer."""
    answer = await client.post("/api/v1/tokens", json={"name": "new", **fields})
    assert answer.status_code == 201, answer.text
    NewTokenView.model_validate_json(answer.content)
    made: dict[str, Any] = answer.json()
    return made


def in_days(days: float) -> str:
    """Return a moment from now on, as JSON has it."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def test_a_new_token_works_and_is_shown_once(services: Services, user: Client) -> None:
    """Its text is in one answer and nowhere else."""
    made = await issue(user)
    async with client_of(services, made["token"]) as client:
        assert (await client.get("/api/v1/me")).json()["token"]["token_id"] == made["token_id"]
    shown = await user.get(f"/api/v1/tokens/{made['token_id']}")
    TokenView.model_validate_json(shown.content)
    assert made["token"] not in shown.text
    assert made["token"].startswith(shown.json()["prefix"])
    kept = await services.pool.fetch("SELECT data::text FROM events")
    assert not any(made["token"] in row[0] for row in kept)


async def test_a_token_lives_90_days_unless_said_otherwise(user: Client) -> None:
    """At most 365."""
    made = await issue(user)
    lifetime = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89.9) < lifetime < timedelta(days=90.1)
    assert (await issue(user, expires_at=in_days(364)))["expires_at"]
    for at in (in_days(366), in_days(-1)):
        answer = await user.post("/api/v1/tokens", json={"name": "new", "expires_at": at})
        found = problem(answer, 422, "invalid_input")
        assert found["errors"][0]["pointer"] == "/expires_at"


async def test_only_an_admin_gives_tokens_that_never_expire(user: Client, admin: Client) -> None:
    """`null` is an admin's word."""
    answer = await user.post("/api/v1/tokens", json={"name": "new", "expires_at": None})
    problem(answer, 403, "forbidden")
    assert (await issue(admin, expires_at=None))["expires_at"] is None


async def test_nobody_gives_more_than_it_has(services: Services, user: Client) -> None:
    """Neither beyond the roles nor beyond the token in one's hand."""
    body = {"name": "new", "scopes": ["users:manage"]}
    problem(await user.post("/api/v1/tokens", json=body), 403, "forbidden")
    narrow, _ = await token_for(services, "una", scopes=("tokens:manage", "jobs:read"))
    async with client_of(services, narrow) as client:
        problem(await client.post("/api/v1/tokens", json={"name": "all"}), 403, "forbidden")
        wider = {"name": "new", "scopes": ["jobs:read", "jobs:write"]}
        problem(await client.post("/api/v1/tokens", json=wider), 403, "forbidden")
        assert await issue(client, scopes=["jobs:read"])


async def test_a_narrower_token_does_not_rotate_itself_wider(
    services: Services, user: Client
) -> None:
    """To replace a token one must hold all that it opens."""
    wide = await issue(user)
    narrow, _ = await token_for(services, "una", scopes=("tokens:manage",))
    async with client_of(services, narrow) as client:
        path = f"/api/v1/tokens/{wide['token_id']}/rotate"
        problem(await client.post(path), 403, "forbidden")


async def test_a_token_opens_what_its_scopes_say(services: Services) -> None:
    """And nothing else: 403."""
    token, _ = await token_for(services, "una", scopes=("jobs:read",))
    async with client_of(services, token) as client:
        assert (await client.get("/api/v1/jobs")).status_code == 200
        body = {"name": "a", "job_command": "b"}
        problem(await client.post("/api/v1/jobs", json=body), 403, "forbidden")
        problem(await client.get(f"/api/v1/jobs/{uuid4()}/logs"), 403, "forbidden")
        problem(await client.get("/api/v1/tokens"), 403, "forbidden")
        assert (await client.get("/api/v1/me")).json()["token"]["scopes"] == ["jobs:read"]


async def test_only_an_admin_makes_tokens_for_others(
    services: Services, user: Client, admin: Client
) -> None:
    """And an unknown user is an input error."""
    _, user_id = await token_for(services, "nora")
    body = {"name": "new", "user_id": str(user_id)}
    problem(await user.post("/api/v1/tokens", json=body), 403, "forbidden")
    made = await issue(admin, user_id=str(user_id))
    async with client_of(services, made["token"]) as client:
        assert (await client.get("/api/v1/me")).json()["user"]["username"] == "nora"
    unknown = {"name": "new", "user_id": str(uuid4())}
    found = problem(await admin.post("/api/v1/tokens", json=unknown), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == "/user_id"
    await admin.post(f"/api/v1/users/{user_id}/deactivate")
    problem(await admin.post("/api/v1/tokens", json=body), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": 1}, "/name"),
        ({"name": "a", "scopes": []}, "/scopes"),
        ({"name": "a", "scopes": ["all"]}, "/scopes/0"),
        ({"name": "a", "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "a", "expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"name": "a", "expires_at": 2_000_000_000}, "/expires_at"),
        ({"name": "a", "user_id": "me"}, "/user_id"),
        ({"name": "a", "token": "rct_mine"}, "/token"),
    ],
)
async def test_bad_tokens_are_refused(user: Client, body: object, pointer: str) -> None:
    """With a pointer to what is wrong."""
    found = problem(await user.post("/api/v1/tokens", json=body), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer


async def test_a_list_shows_own_tokens_revoked_ones_too(user: Client, admin: Client) -> None:
    """Newest first; an admin may ask for another's."""
    made = await issue(user)
    await user.delete(f"/api/v1/tokens/{made['token_id']}")
    answer = await user.get("/api/v1/tokens")
    TokenListView.model_validate_json(answer.content)
    found = answer.json()["tokens"]
    assert [one["name"] for one in found] == ["new", "test"]
    assert [one["is_active"] for one in found] == [False, True]
    assert found[0]["revoked_at"] is not None
    owner = found[0]["user_id"]
    seen = (await admin.get(f"/api/v1/tokens?user_id={owner}")).json()
    assert {one["token_id"] for one in seen["tokens"]} == {one["token_id"] for one in found}
    problem(await user.get(f"/api/v1/tokens?user_id={uuid4()}"), 403, "forbidden")


async def test_the_last_use_of_a_token_is_shown(user: Client) -> None:
    """Noted in the background, soon after."""
    async with asyncio.timeout(10):
        while True:
            (token,) = (await user.get("/api/v1/tokens")).json()["tokens"]
            if token["last_used_at"] is not None:
                break
    used_at = datetime.fromisoformat(token["last_used_at"])
    assert abs(used_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_somebody_elses_token_is_404(
    user: Client, stranger: Client, auditor: Client, admin: Client
) -> None:
    """For all but an admin."""
    path = f"/api/v1/tokens/{(await issue(user))['token_id']}"
    problem(await stranger.get(path), 404, "not_found")
    problem(await stranger.delete(path), 404, "not_found")
    problem(await stranger.post(f"{path}/rotate"), 404, "not_found")
    problem(await auditor.get(path), 404, "not_found")
    assert (await admin.get(path)).status_code == 200
    problem(await user.get("/api/v1/tokens/none"), 404, "not_found")


async def test_a_revoked_token_is_refused_at_once_and_elsewhere_within_a_second(
    settings: ApiSettings, services: Services, user: Client
) -> None:
    """Also by another process that has just seen it hold. Revoking again adds nothing."""
    made = await issue(user)
    async with (
        open_services(settings) as elsewhere,
        client_of(services, made["token"]) as here,
        client_of(elsewhere, made["token"]) as there,
    ):
        assert (await here.get("/api/v1/me")).status_code == 200
        assert (await there.get("/api/v1/me")).status_code == 200
        for _ in range(2):
            answer = await user.delete(f"/api/v1/tokens/{made['token_id']}")
            assert (answer.status_code, answer.content) == (204, b"")
        problem(await here.get("/api/v1/me"), 401, "unauthorized")
        async with asyncio.timeout(1):
            while (await there.get("/api/v1/me")).status_code != 401:
                pass  # asks again


async def test_rotation_replaces_a_token_at_once(services: Services, user: Client) -> None:
    """The new one may do the same, the old one nothing."""
    old = await issue(user, scopes=["jobs:read", "tokens:manage"])
    answer = await user.post(f"/api/v1/tokens/{old['token_id']}/rotate")
    assert answer.status_code == 201, answer.text
    new = answer.json()
    async with client_of(services, old["token"]) as client:
        problem(await client.get("/api/v1/jobs"), 401, "unauthorized")
    async with client_of(services, new["token"]) as client:
        scopes = (await client.get("/api/v1/me")).json()["token"]["scopes"]
        assert scopes == ["jobs:read", "tokens:manage"]
        again = (await client.get(f"/api/v1/tokens/{old['token_id']}")).json()
    assert again["successor_id"] == new["token_id"]
    answer = await user.post(f"/api/v1/tokens/{old['token_id']}/rotate")
    problem(answer, 409, "conflict")


async def test_a_rotated_token_lives_on_for_the_overlap(services: Services, user: Client) -> None:
    """Both hold; the old one not for ever, and not longer than it would have."""
    old = await issue(user)
    path = f"/api/v1/tokens/{old['token_id']}"
    answer = await user.post(f"{path}/rotate", json={"overlap_seconds": 600})
    assert answer.status_code == 201, answer.text
    for token in (old["token"], answer.json()["token"]):
        async with client_of(services, token) as client:
            assert (await client.get("/api/v1/jobs")).status_code == 200
    shown = (await user.get(path)).json()
    assert shown["is_active"] is True
    left = datetime.fromisoformat(shown["revoked_at"]) - datetime.now(UTC)
    assert timedelta(seconds=590) < left <= timedelta(seconds=601)


@pytest.mark.parametrize("seconds", [-1, 86_401, 1.5, "60", None])
async def test_an_overlap_out_of_bounds_is_refused(user: Client, seconds: object) -> None:
    """0 to 86,400 whole seconds."""
    path = f"/api/v1/tokens/{(await issue(user))['token_id']}/rotate"
    answer = await user.post(path, json={"overlap_seconds": seconds})
    assert problem(answer, 422, "invalid_input")["errors"][0]["pointer"] == "/overlap_seconds"
