"""What stood at a past moment, and what changed between two versions: jobs, tokens, users."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from reactorcide.api.differences import changes
from reactorcide.api.fields import parse_time
from reactorcide.api.services import Services
from reactorcide.eventstore.domain.job import Failed
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit


async def lived(services: Services, client: Client) -> tuple[str, list[dict[str, Any]]]:
    """Return a job that was submitted, claimed, started and has failed; and its events."""
    job_id = (await submit(client, name="lived"))["job_id"]
    await work.run(services, job_id, Failed(3, "exit code 3"))
    events = (await client.get(f"/api/v1/jobs/{job_id}/events")).json()["events"]
    return job_id, events


async def test_a_job_is_shown_as_it_stood(services: Services, user: Client) -> None:
    """At each of its events, by position and by time: its status, version and ETag of then."""
    job_id, events = await lived(services, user)
    statuses = ["queued", "claimed", "running", "failed"]
    for event, status in zip(events, statuses, strict=True):
        answer = await user.get(f"/api/v1/jobs/{job_id}", params={"at": event["position"]})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert answer.json()["version"] == event["version"]
        assert answer.headers["etag"] == f'"{event["version"]}"'
    for event in events[1:]:
        answer = await user.get(f"/api/v1/jobs/{job_id}", params={"at": event["recorded_at"]})
        assert answer.json()["version"] >= event["version"]
    now = (await user.get(f"/api/v1/jobs/{job_id}")).json()
    at_last = {"at": events[-1]["position"]}
    assert (await user.get(f"/api/v1/jobs/{job_id}", params=at_last)).json() == now


async def test_before_its_first_event_there_is_no_job(services: Services, user: Client) -> None:
    """By position and by time; and nothing is said of the future."""
    job_id, events = await lived(services, user)
    submitted_at = parse_time(events[0]["recorded_at"])
    assert submitted_at is not None
    path = f"/api/v1/jobs/{job_id}"
    before = (submitted_at - timedelta(seconds=1)).isoformat()
    later = (submitted_at + timedelta(hours=1)).isoformat()
    for moment in (str(events[0]["position"] - 1), "0", before):
        problem(await user.get(path, params={"at": moment}), 404, "not_found")
    for moment in (str(events[-1]["position"] + 1000), "9" * 18, later):
        refused = problem(await user.get(path, params={"at": moment}), 422, "invalid_input")
        assert refused["errors"][0]["pointer"] == "/at"


@pytest.mark.parametrize("at", ["", "yesterday", "-1", "1.5", "2026-01-01", "9" * 19, "²"])
async def test_a_moment_is_a_time_or_a_position(user: Client, at: str) -> None:
    """Anything else is refused, whether or not there is such a job."""
    answer = await user.get(f"/api/v1/jobs/{uuid4()}", params={"at": at})
    assert problem(answer, 422, "invalid_input")["errors"][0]["pointer"] == "/at"


async def test_the_past_is_hidden_as_the_present_is(
    services: Services, user: Client, stranger: Client, auditor: Client
) -> None:
    """A stranger sees nothing; what a deleted job was is for those who see every job."""
    job_id, events = await lived(services, user)
    path, at = f"/api/v1/jobs/{job_id}", {"at": events[1]["position"]}
    for one in (path, f"{path}/diff"):
        problem(await stranger.get(one, params=at if one == path else {}), 404, "not_found")
    assert (await user.delete(path)).status_code == 204
    problem(await user.get(path, params=at), 404, "not_found")
    problem(await user.get(f"{path}/diff"), 404, "not_found")
    assert (await auditor.get(path, params=at)).json()["status"] == "claimed"
    assert (await auditor.get(f"{path}/diff")).status_code == 200


async def test_a_diff_says_what_changed(services: Services, user: Client) -> None:
    """From one version to another, or from the last but one; in either direction."""
    job_id, events = await lived(services, user)
    path = f"/api/v1/jobs/{job_id}/diff"
    last = (await user.get(path)).json()
    assert (last["from"]["version"], last["to"]["version"]) == (3, 4)
    assert last["to"] == {name: events[-1][name] for name in ("version", "position", "recorded_at")}
    found = {change["path"]: (change["from"], change["to"]) for change in last["changes"]}
    assert found["/status"] == ("running", "failed")
    assert found["/exit_code"] == (None, 3)
    assert found["/last_error"] == (None, "exit code 3")
    assert found["/version"] == (3, 4)
    assert "/name" not in found
    whole = (await user.get(path, params={"from": 1, "to": 4})).json()
    back = (await user.get(path, params={"from": 4, "to": 1})).json()
    assert [(c["path"], c["to"], c["from"]) for c in back["changes"]] == [
        (c["path"], c["from"], c["to"]) for c in whole["changes"]
    ]
    assert (await user.get(path, params={"from": 2, "to": 2})).json()["changes"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [({"from": "0"}, "/from"), ({"to": "5"}, "/to"), ({"from": "x"}, "/from"), ({"a": "1"}, "/a")],
)
async def test_a_diff_is_between_versions_that_are(
    services: Services, user: Client, query: dict[str, str], pointer: str
) -> None:
    """Any other is refused, and the latest is named."""
    job_id, _ = await lived(services, user)
    answer = await user.get(f"/api/v1/jobs/{job_id}/diff", params=query)
    assert problem(answer, 422, "invalid_input")["errors"][0]["pointer"] == pointer


async def test_tokens_and_users_have_a_past(admin: Client) -> None:
    """As jobs have: what they were, and what changed."""
    made = (await admin.post("/api/v1/users", json={"username": "pat", "roles": ["user"]})).json()
    user_path = f"/api/v1/users/{made['user_id']}"
    await admin.put(f"{user_path}/roles", json={"roles": ["auditor"]})
    diff = (await admin.get(f"{user_path}/diff")).json()
    roles = next(change for change in diff["changes"] if change["path"] == "/roles")
    assert (roles["from"], roles["to"]) == (["user"], ["auditor"])
    then = await admin.get(user_path, params={"at": diff["from"]["position"]})
    assert then.json()["roles"] == ["user"]
    issued = (await admin.post("/api/v1/tokens", json={"name": "t"})).json()
    token_path = f"/api/v1/tokens/{issued['token_id']}"
    assert (await admin.delete(token_path)).status_code == 204
    diff = (await admin.get(f"{token_path}/diff")).json()
    assert "/is_active" in {change["path"] for change in diff["changes"]}
    then = await admin.get(token_path, params={"at": diff["from"]["position"]})
    assert then.json()["is_active"] is True
    problem(await admin.get(f"/api/v1/users/{uuid4()}/diff"), 404, "not_found")


def test_changes_are_named_by_their_path() -> None:
    """Objects are gone into, lists and values are compared as a whole; types count."""
    before = {"a": {"b": 1, "c/d": [1]}, "e": 1, "f": None}
    after = {"a": {"b": 1, "c/d": [1, 2]}, "e": True, "g": {}}
    assert list(changes(before, after)) == [
        (("a", "c/d"), [1], [1, 2]),
        (("e",), 1, True),
        (("g",), None, {}),
    ]
