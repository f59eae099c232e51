"""Showing jobs: one, many, their events, and why one is not running."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reactorcide.api.services import Services
from reactorcide.api.views import AttemptListView, EventListView, ExplainView, JobListView
from reactorcide.eventstore.domain.events import WorkerRegistered
from reactorcide.eventstore.domain.job import ExpireLease, Failed, Released
from reactorcide.eventstore.domain.worker import WORKER, RegisterWorker
from reactorcide.eventstore.handle import TransactionDoor, handle_new
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import workers
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import in_seconds, submit


async def names(client: Client, **query: Any) -> list[str]:
    """Return the names on a page of jobs."""
    answer = await client.get("/api/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    JobListView.model_validate_json(answer.content)
    return [job["name"] for job in answer.json()["jobs"]]


async def test_a_job_as_one_has_it_is_304(services: Services, user: Client) -> None:
    """By its ETag, weak or strong, in a list or `*`; once it moved it is 200 again."""
    made = await submit(user)
    path = f"/api/v1/jobs/{made['job_id']}"
    tag = (await user.get(path)).headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = await user.get(path, headers={"If-None-Match": given})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    await work.start(services, made["job_id"])
    answer = await user.get(path, headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != tag


async def test_every_attempt_is_shown(services: Services, user: Client) -> None:
    """With its own worker, times, exit code and outcome; the last one while it still runs."""
    made = await submit(user, max_attempts=3, retry_backoff_seconds=0)
    path, job_id = f"/api/v1/jobs/{made['job_id']}/attempts", made["job_id"]
    assert (await user.get(path)).json() == {"attempts": []}
    await work.start(services, job_id)
    await work.finish(services, job_id, Failed(3, "exit code 3"))
    await work.start(services, job_id, 2)
    await work.finish(services, job_id, Released("the worker stops"), 2)
    await work.start(services, job_id, 3)
    await work.command(services, job_id, ExpireLease(3, datetime.now(UTC)))
    await work.start(services, job_id, 4)
    answer = await user.get(path)
    AttemptListView.model_validate_json(answer.content)
    first, second, third, fourth = answer.json()["attempts"]
    assert (first["outcome"], first["exit_code"], first["error"]) == ("failed", 3, "exit code 3")
    assert first["claimed_at"] <= first["started_at"] <= first["ended_at"]
    assert first["retry_at"] is not None
    assert (second["outcome"], second["error"]) == ("released", "the worker stops")
    assert (third["outcome"], third["exit_code"]) == ("lost", None)
    assert (fourth["attempt"], fourth["outcome"], fourth["ended_at"]) == (4, None, None)
    workers = {one["worker_id"] for one in answer.json()["attempts"]}
    assert len(workers) == 4


async def test_head_is_get_without_a_body(user: Client) -> None:
    """The same status and headers."""
    made = await submit(user)
    answer = await user.head(f"/api/v1/jobs/{made['job_id']}")
    assert answer.status_code == 200
    assert answer.headers["etag"]


async def test_who_sees_a_job(
    user: Client, stranger: Client, auditor: Client, operator: Client, admin: Client
) -> None:
    """Its owner, auditors, operators, admins; for anybody else it is not there."""
    made = await submit(user)
    for suffix in ("", "/events", "/explain", "/logs"):
        path = f"/api/v1/jobs/{made['job_id']}{suffix}"
        for client in (user, auditor, operator, admin):
            assert (await client.get(path)).status_code == 200, path
        problem(await stranger.get(path), 404, "not_found")


async def test_a_plain_user_lists_its_own_jobs(
    user: Client, stranger: Client, auditor: Client
) -> None:
    """Others see all, or one user's."""
    made = await submit(user, name="mine")
    other = await submit(stranger, name="theirs")
    assert await names(user) == ["mine"]
    assert await names(user, user_id=made["user_id"]) == ["mine"]
    answer = await user.get("/api/v1/jobs", params={"user_id": other["user_id"]})
    problem(answer, 403, "forbidden")
    assert await names(auditor) == ["theirs", "mine"]
    assert await names(auditor, user_id=other["user_id"]) == ["theirs"]


async def test_jobs_are_filtered(services: Services, user: Client) -> None:
    """By each thing alone, and together."""
    first = await submit(user, name="Build One", queue_name="fast", labels={"a": "1", "b": "2"})
    await submit(user, name="test two", labels={"a": "1"}, run_at=in_seconds(600))
    git = {"source_type": "git", "git_url": "https://example.org/r"}
    third = await submit(user, name="build three", **git)
    await work.run(services, third["job_id"], Failed(2, "exit code 2"))
    assert await names(user, status="failed") == ["build three"]
    assert await names(user, status="submitted") == ["test two"]
    assert await names(user, queue_name="fast") == ["Build One"]
    assert await names(user, source_type="git") == ["build three"]
    assert await names(user, q="BUILD") == ["build three", "Build One"]
    assert await names(user, q="100%") == []
    assert await names(user, **{"label.a": "1"}) == ["test two", "Build One"]
    assert await names(user, **{"label.a": "1", "label.b": "2"}) == ["Build One"]
    assert await names(user, **{"label.a": "2"}) == []
    assert await names(user, created_after=first["created_at"]) == ["build three", "test two"]
    assert await names(user, created_before=third["created_at"]) == ["test two", "Build One"]
    assert await names(user, created_after=in_seconds(60)) == []
    assert await names(user, queue_name="fast", status="failed") == []


async def test_jobs_are_paged_newest_first(user: Client) -> None:
    """By cursor and by offset; each once, with a total."""
    batch = {"jobs": [{"name": f"j{nth}", "job_command": "true"} for nth in range(7)]}
    await user.post("/api/v1/jobs/batch", json=batch)
    first = (await user.get("/api/v1/jobs?limit=3")).json()
    assert [job["name"] for job in first["jobs"]] == ["j6", "j5", "j4"]
    assert (first["total"], first["limit"], first["offset"]) == (7, 3, 0)
    second = (await user.get(f"/api/v1/jobs?limit=3&cursor={first['next_cursor']}")).json()
    assert [job["name"] for job in second["jobs"]] == ["j3", "j2", "j1"]
    last = (await user.get(f"/api/v1/jobs?limit=3&cursor={second['next_cursor']}")).json()
    assert [job["name"] for job in last["jobs"]] == ["j0"]
    assert last["next_cursor"] is None
    assert await names(user, limit=2, offset=5) == ["j1", "j0"]
    assert await names(user, offset=7) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=1e1", "/limit"),
        ("limit=", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("offset=-1", "/offset"),
        ("offset=99999999999999999999", "/offset"),
        ("offset=1&cursor=AAAAAAAAAAAAAAAAAAAAAA", "/cursor"),
        ("cursor=x", "/cursor"),
        ("cursor=", "/cursor"),
        ("status=done", "/status"),
        ("status=deleted", "/status"),
        ("queue_name=A", "/queue_name"),
        ("source_type=svn", "/source_type"),
        ("user_id=me", "/user_id"),
        ("created_after=yesterday", "/created_after"),
        ("created_before=2030-01-01", "/created_before"),
        ("q=%00", "/q"),
        ("label=a", "/label"),
        ("label.a=1&label.a=2", "/label.a"),
        ("stauts=queued", "/stauts"),
    ],
)
async def test_a_bad_query_is_422_with_its_pointer(
    anonymous: Client, user: Client, query: str, pointer: str
) -> None:
    """Unknown parameters too: a typo must not widen a list."""
    found = problem(await user.get(f"/api/v1/jobs?{query}"), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer
    problem(await anonymous.get(f"/api/v1/jobs?{query}"), 401, "unauthorized")


async def test_a_parameter_that_an_operation_does_not_know_is_422(user: Client) -> None:
    """An answer that leaves a wish out would be a wrong one."""
    path = f"/api/v1/jobs/{(await submit(user))['job_id']}"
    for suffix in ("?at=2030-01-01T00:00:00Z", "/events?limit=1", "/explain?x="):
        problem(await user.get(path + suffix), 422, "invalid_input")
    problem(await user.post(f"{path}/cancel?force=1"), 422, "invalid_input")
    assert (await user.get("/livez?x=1")).status_code == 200


async def test_the_events_of_a_job_tell_its_life(services: Services, user: Client) -> None:
    """In order, with actors and times that ascend."""
    made = await submit(user)
    await work.run(services, made["job_id"])
    answer = await user.get(f"/api/v1/jobs/{made['job_id']}/events")
    EventListView.model_validate_json(answer.content)
    events = answer.json()["events"]
    types = ["job.submitted", "job.claimed", "job.started", "job.completed"]
    assert [event["type"] for event in events] == types
    assert [event["version"] for event in events] == [1, 2, 3, 4]
    assert [event["position"] for event in events] == sorted(e["position"] for e in events)
    assert [event["actor"]["type"] for event in events] == ["user"] + ["system"] * 3
    times = [datetime.fromisoformat(event["recorded_at"]) for event in events]
    assert times == sorted(times)
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=1)


async def reasons(client: Client, job_id: str) -> list[str]:
    """Return the codes of what holds a job back."""
    answer = await client.get(f"/api/v1/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    ExplainView.model_validate_json(answer.content)
    return [reason["code"] for reason in answer.json()["reasons"]]


async def register_worker(services: Services, **labels: str) -> None:
    """Let a worker of the default queue be there."""
    registered = WorkerRegistered(
        name="w",
        hostname="h",
        pid=1,
        queues=("default",),
        concurrency=1,
        labels=labels,
        runner="process",
        code_version="1",
    )
    async with services.pool.acquire() as connection:
        door = TransactionDoor(connection, workers.rows)
        await handle_new(door, WORKER, new_id(), RegisterWorker(registered), SYSTEM)


async def test_explain_says_what_a_job_waits_for(services: Services, user: Client) -> None:
    """Its time, other jobs, a worker, one with its labels, a free slot; nothing when it runs."""
    plain = (await submit(user))["job_id"]
    labelled = (await submit(user, labels={"arch": "arm64"}))["job_id"]
    assert await reasons(user, (await submit(user, run_at=in_seconds(60)))["job_id"]) == ["run_at"]
    waiting = (await submit(user, depends_on=[plain]))["job_id"]
    assert await reasons(user, waiting) == ["depends_on"]
    assert await reasons(user, plain) == ["no_worker"]
    await register_worker(services)
    assert await reasons(user, plain) == ["no_free_slot"]
    assert await reasons(user, labelled) == ["no_worker_with_labels"]
    await register_worker(services, arch="arm64", zone="x")
    assert await reasons(user, labelled) == ["no_free_slot"]
    await work.start(services, plain)
    assert await reasons(user, plain) == []
    await work.finish(services, plain)
    assert await reasons(user, plain) == ["ended"]
    again = (await submit(user, max_attempts=2, retry_backoff_seconds=600))["job_id"]
    await work.run(services, again, Failed(1, "exit code 1"))
    assert "retry_backoff" in await reasons(user, again)
