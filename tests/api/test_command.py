"""Cancel, kill, retry, delete: who may, when, and what comes of it."""

from uuid import uuid4

import pytest

from reactorcide.api.services import Services
from reactorcide.eventstore.domain.job import Cancelled, Failed, Outcome, TimedOut
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import in_seconds, submit

ENDINGS: list[tuple[Outcome | None, str]] = [
    (None, "completed"),
    (Failed(3, "exit code 3"), "failed"),
    (TimedOut(143, "ran too long"), "timeout"),
]


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("later", [True, False])
async def test_a_job_that_has_not_started_is_cancelled_at_once(
    user: Client, method: str, *, later: bool
) -> None:
    """Waiting or queued, with either method; cancelling what has ended is 409."""
    made = await submit(user, **({"run_at": in_seconds(600)} if later else {}))
    path = f"/api/v1/jobs/{made['job_id']}/cancel"
    answer = await user.request(method, path)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["status"], job["exit_code"]) == ("cancelled", None)
    assert job["completed_at"] is not None
    assert answer.headers["etag"] == f'"{job["version"]}"'
    assert (await user.get(f"/api/v1/jobs/{made['job_id']}")).json() == job
    found = problem(await user.request(method, path), 409, "conflict")
    assert found["current_status"] == "cancelled"


async def test_a_running_job_is_asked_to_stop(services: Services, user: Client) -> None:
    """It still runs; repeated gives the same answer; then it is cancelled."""
    job_id = (await submit(user))["job_id"]
    await work.start(services, job_id)
    path = f"/api/v1/jobs/{job_id}/cancel"
    first, again = await user.put(path), await user.post(path)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["status"] == "running"
    assert first.json()["cancel_requested_at"] is not None
    await work.finish(services, job_id, Cancelled(143))
    ended = (await user.get(f"/api/v1/jobs/{job_id}")).json()
    assert (ended["status"], ended["exit_code"]) == ("cancelled", 143)


@pytest.mark.parametrize(("outcome", "status"), ENDINGS)
async def test_an_ended_job_is_not_cancelled(
    services: Services, user: Client, operator: Client, outcome: Outcome | None, status: str
) -> None:
    """409, which names what it is; kill alike."""
    job_id = (await submit(user))["job_id"]
    await work.run(services, job_id, outcome)
    for client, command in ((user, "cancel"), (operator, "kill")):
        answer = await client.post(f"/api/v1/jobs/{job_id}/{command}")
        assert problem(answer, 409, "conflict")["current_status"] == status


async def test_a_job_is_killed_by_an_operator_or_admin(
    services: Services, user: Client, stranger: Client, operator: Client, admin: Client
) -> None:
    """The owner alone may not (403); for a stranger it is not there."""
    for client in (operator, admin):
        job_id = (await submit(user))["job_id"]
        await work.start(services, job_id)
        path = f"/api/v1/jobs/{job_id}/kill"
        problem(await user.post(path), 403, "forbidden")
        problem(await stranger.post(path), 404, "not_found")
        answer = await client.post(path)
        assert (answer.status_code, answer.json()["status"]) == (200, "running")
        assert (
            await services.pool.fetchval(
                "SELECT cancel_grace_seconds FROM jobs WHERE job_id = $1", job_id
            )
            == 0
        )
    queued = (await submit(user))["job_id"]
    assert (await admin.post(f"/api/v1/jobs/{queued}/kill")).json()["status"] == "cancelled"


@pytest.mark.parametrize(("outcome", "status"), ENDINGS)
async def test_an_ended_job_is_retried_as_a_new_one(
    services: Services, user: Client, outcome: Outcome | None, status: str
) -> None:
    """201, the same request, `retry_of` the old one, which stays as it is."""
    old = await submit(user, priority=7, job_env_vars={"S": "hide me"}, secret_env_vars=["S"])
    path = f"/api/v1/jobs/{old['job_id']}"
    problem(await user.post(f"{path}/retry"), 409, "conflict")
    await work.run(services, old["job_id"], outcome)
    answer = await user.post(f"{path}/retry")
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert new["job_id"] != old["job_id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{new['job_id']}"
    assert (new["retry_of"], new["priority"], new["status"]) == (old["job_id"], 7, "queued")
    assert new["job_env_vars"] == {"S": "***"}
    assert (await user.get(path)).json()["status"] == status


async def test_a_retry_respects_the_unique_key(services: Services, user: Client) -> None:
    """While another job has it, that one is the answer."""
    old = await submit(user, unique_key="u")
    await work.run(services, old["job_id"])
    first = await user.post(f"/api/v1/jobs/{old['job_id']}/retry")
    again = await user.post(f"/api/v1/jobs/{old['job_id']}/retry")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["deduplicated"] == "true"
    assert again.json() == first.json()


async def test_an_ended_job_is_deleted_and_gone_from_every_list(
    services: Services, user: Client, admin: Client
) -> None:
    """204, then 404 for everybody; its events stay in the log."""
    job_id = (await submit(user))["job_id"]
    path = f"/api/v1/jobs/{job_id}"
    assert problem(await user.delete(path), 409, "conflict")["current_status"] == "queued"
    await work.run(services, job_id)
    answer = await user.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for client in (user, admin):
        problem(await client.get(path), 404, "not_found")
        problem(await client.delete(path), 404, "not_found")
        for command in ("cancel", "retry"):
            problem(await client.post(f"{path}/{command}"), 404, "not_found")
        for suffix in ("events", "logs", "explain"):
            problem(await client.get(f"{path}/{suffix}"), 404, "not_found")
        assert (await client.get("/api/v1/jobs")).json()["jobs"] == []
    kept = await services.pool.fetchval("SELECT count(*) FROM events WHERE stream_id = $1", job_id)
    assert kept == 5


async def test_who_commands_a_job(
    services: Services, user: Client, stranger: Client, auditor: Client, operator: Client
) -> None:
    """An auditor changes nothing (403), a stranger sees nothing (404), an operator may."""
    job_id = (await submit(user))["job_id"]
    path = f"/api/v1/jobs/{job_id}"
    for method, suffix in (
        ("POST", "/cancel"),
        ("POST", "/kill"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        problem(await auditor.request(method, path + suffix), 403, "forbidden")
        problem(await stranger.request(method, path + suffix), 404, "not_found")
        unknown = f"/api/v1/jobs/{uuid4()}{suffix}"
        problem(await operator.request(method, unknown), 404, "not_found")
    assert (await operator.post(f"{path}/cancel")).status_code == 200
    retried = await operator.post(f"{path}/retry")
    assert retried.status_code == 201
    assert retried.json()["user_id"] == (await user.get("/api/v1/me")).json()["user"]["user_id"]
    assert (await operator.delete(path)).status_code == 204
    assert await services.pool.fetchval("SELECT count(*) FROM jobs WHERE status = 'deleted'") == 1


async def test_who_only_sees_a_job_does_not_change_it(services: Services, user: Client) -> None:
    """An auditor who is a user too may write, but only to its own."""
    job_id = (await submit(user))["job_id"]
    token, _ = await token_for(services, "both", "auditor", "user")
    async with client_of(services, token) as both:
        for command in ("cancel", "kill", "retry"):
            answer = await both.post(f"/api/v1/jobs/{job_id}/{command}")
            problem(answer, 403, "forbidden")
        own = (await submit(both))["job_id"]
        assert (await both.post(f"/api/v1/jobs/{own}/cancel")).status_code == 200
