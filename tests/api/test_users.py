"""Users: registered by an admin, seen by an auditor, nobody else's business."""

from uuid import uuid4

import pytest

from reactorcide.api.account_views import MeView, UserListView, UserView
from reactorcide.api.services import Services
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem


async def test_an_admin_registers_a_user(admin: Client) -> None:
    """201, with a place to find it, and the default role."""
    answer = await admin.post("/api/v1/users", json={"username": "nora", "email": "n@x.org"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    UserView.model_validate_json(answer.content)
    assert (made["username"], made["roles"], made["is_active"]) == ("nora", ["user"], True)
    again = await admin.get(answer.headers["location"])
    assert again.json() == made


@pytest.mark.parametrize("taken", [{"username": "NORA"}, {"username": "other", "email": "N@X.org"}])
async def test_a_taken_name_or_address_is_409(admin: Client, taken: dict[str, str]) -> None:
    """Whatever the case of its letters."""
    await admin.post("/api/v1/users", json={"username": "nora", "email": "n@x.org"})
    found = problem(await admin.post("/api/v1/users", json=taken), 409, "conflict")
    assert found["current_status"] == "taken"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/username"),
        ({"username": ""}, "/username"),
        ({"username": " a"}, "/username"),
        ({"username": "a\nb"}, "/username"),
        ({"username": "x" * 256}, "/username"),
        ({"username": "a", "email": "nowhere"}, "/email"),
        ({"username": "a", "roles": ["king"]}, "/roles/0"),
        ({"username": "a", "roles": []}, "/roles"),
        ({"username": "a", "roles": "admin"}, "/roles"),
        ({"username": "a", "password": "b"}, "/password"),
    ],
)
async def test_bad_users_are_refused(admin: Client, body: object, pointer: str) -> None:
    """With a pointer to what is wrong."""
    found = problem(await admin.post("/api/v1/users", json=body), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer


async def test_only_admins_change_users_and_only_auditors_see_them(
    user: Client, operator: Client, auditor: Client
) -> None:
    """403 for the others: they know that the operation exists."""
    for client in (user, operator, auditor):
        answer = await client.post("/api/v1/users", json={"username": "x"})
        problem(answer, 403, "forbidden")
        path = f"/api/v1/users/{uuid4()}"
        problem(await client.put(f"{path}/roles", json={"roles": ["admin"]}), 403, "forbidden")
        problem(await client.post(f"{path}/deactivate"), 403, "forbidden")
    for client in (user, operator):
        problem(await client.get("/api/v1/users"), 403, "forbidden")
        problem(await client.get(f"/api/v1/users/{uuid4()}"), 403, "forbidden")
    seen = await auditor.get("/api/v1/users")
    assert seen.status_code == 200
    UserListView.model_validate_json(seen.content)
    assert (await auditor.get(f"/api/v1/users/{seen.json()['users'][0]['user_id']}")).is_success


async def test_users_are_listed_newest_first_and_by_page(admin: Client) -> None:
    """By offset and by cursor, every one of them once."""
    for nth in range(5):
        await admin.post("/api/v1/users", json={"username": f"user-{nth}"})
    whole = (await admin.get("/api/v1/users")).json()
    names = [one["username"] for one in whole["users"]]
    assert names == ["user-4", "user-3", "user-2", "user-1", "user-0", "ada"]
    assert (whole["total"], whole["limit"], whole["offset"]) == (6, 50, 0)
    assert whole["next_cursor"] is None
    paged: list[str] = []
    query: dict[str, str | int] = {"limit": 4}
    while True:
        page = (await admin.get("/api/v1/users", params=query)).json()
        paged += [one["username"] for one in page["users"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert paged == names
    shifted = (await admin.get("/api/v1/users?limit=2&offset=1")).json()
    assert [one["username"] for one in shifted["users"]] == names[1:3]


async def test_roles_are_changed_and_felt_at_once(services: Services, admin: Client) -> None:
    """What a token opens follows its owner's roles."""
    token, user_id = await token_for(services, "nora")
    async with client_of(services, token) as nora:
        problem(await nora.get("/api/v1/users"), 403, "forbidden")
        path = f"/api/v1/users/{user_id}/roles"
        answer = await admin.put(path, json={"roles": ["auditor", "auditor"]})
        assert answer.json()["roles"] == ["auditor"]
        assert (await nora.get("/api/v1/users")).status_code == 200


async def test_a_deactivated_user_does_nothing_any_more(services: Services, admin: Client) -> None:
    """Its tokens are refused like unknown ones; repeating it changes nothing."""
    token, user_id = await token_for(services, "nora")
    async with client_of(services, token) as nora:
        assert (await nora.get("/api/v1/me")).status_code == 200
        for _ in range(2):
            answer = await admin.post(f"/api/v1/users/{user_id}/deactivate")
            assert (answer.status_code, answer.json()["is_active"]) == (200, False)
        refused = problem(await nora.get("/api/v1/me"), 401, "unauthorized")
        assert refused["message"] == "Invalid or expired token"
    path = f"/api/v1/users/{user_id}/roles"
    found = problem(await admin.put(path, json={"roles": ["user"]}), 409, "conflict")
    assert found["current_status"] == "inactive"


async def test_unknown_users_are_404(admin: Client) -> None:
    """An id that is no UUID alike."""
    for user_id in (uuid4(), "nobody"):
        problem(await admin.get(f"/api/v1/users/{user_id}"), 404, "not_found")
        problem(await admin.post(f"/api/v1/users/{user_id}/deactivate"), 404, "not_found")
        path = f"/api/v1/users/{user_id}/roles"
        problem(await admin.put(path, json={"roles": ["user"]}), 404, "not_found")


async def test_me_is_the_caller_and_its_token(user: Client) -> None:
    """Who one is, and what the token in one's hand opens."""
    answer = await user.get("/api/v1/me")
    MeView.model_validate_json(answer.content)
    body = answer.json()
    assert body["user"]["username"] == "una"
    assert body["token"]["name"] == "test"
    assert "jobs:write" in body["token"]["scopes"]
    assert "users:manage" not in body["token"]["scopes"]
