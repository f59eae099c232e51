"""Submitting jobs: what is taken, what is refused, and what is kept of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from reactorcide.api.services import Services
from reactorcide.api.views import JobView
from reactorcide.eventstore.domain.job import Failed
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client
from reactorcide.tests.api.test_errors import problem

NO_ID = "00000000-0000-0000-0000-000000000000"

DEFAULTS: dict[str, Any] = {
    "handler": None,
    "args": None,
    "description": None,
    "source_type": "none",
    "git_url": None,
    "git_ref": None,
    "source_path": None,
    "code_dir": "/job/src",
    "job_dir": "/job/src",
    "runner_image": None,
    "job_env_vars": {},
    "job_env_file": None,
    "secret_env_vars": [],
    "timeout_seconds": 3600,
    "priority": 0,
    "queue_name": "default",
    "max_attempts": 1,
    "on_lost_lease": "requeue",
    "retry_backoff_seconds": 5,
    "run_at": None,
    "unique_key": None,
    "labels": {},
    "depends_on": [],
    "attempt": 0,
    "worker_id": None,
    "exit_code": None,
    "last_error": None,
    "claimed_at": None,
    "started_at": None,
    "completed_at": None,
    "cancel_requested_at": None,
    "retry_of": None,
    "logs_object_key": None,
    "artifacts_object_key": None,
}


async def submit(client: Client, **fields: Any) -> dict[str, Any]:
    """Submit a job and return it."""
    answer = await client.post("/api/v1/jobs", json={**JOB, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def in_seconds(seconds: float) -> str:
    """Return a moment from now on, as the API writes it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat().replace("+00:00", "Z")


async def test_submits_that_arrive_together_are_written_together(
    services: Services, user: Client
) -> None:
    """In a few transactions, though each is caused by a request of its own."""
    made = await asyncio.gather(*[submit(user) for _ in range(40)])
    found = await services.pool.fetch(
        "SELECT request_id, recorded_at FROM events WHERE stream_id = ANY ($1)",
        [one["job_id"] for one in made],
    )
    assert len({row["request_id"] for row in found}) == 40
    assert len({row["recorded_at"] for row in found}) < 20


async def test_a_job_is_queued_when_nothing_holds_it_back(user: Client) -> None:
    """201, where it is, every field, and the same when read back."""
    answer = await user.post("/api/v1/jobs", json=JOB)
    assert answer.status_code == 201, answer.text
    JobView.model_validate_json(answer.content)
    made = answer.json()
    assert made["status"] == "queued"
    assert {name: made[name] for name in DEFAULTS} == DEFAULTS
    assert answer.headers["location"] == f"/api/v1/jobs/{made['job_id']}"
    assert answer.headers["etag"] == f'"{made["version"]}"'
    again = await user.get(answer.headers["location"])
    assert again.json() == made
    assert again.headers["etag"] == answer.headers["etag"]


async def test_every_field_is_kept(user: Client) -> None:
    """As it was sent."""
    fields = {
        "name": "n" * 255,
        "job_command": "c" * 131_072,
        "description": "d" * 4096,
        "source_type": "git",
        "git_url": "https://example.org/repo.git",
        "git_ref": "main",
        "code_dir": "/job/code",
        "job_dir": "/job/code/sub",
        "runner_image": "debian:12",
        "job_env_vars": {"A": "1", "B": "é"},
        "job_env_file": ".env",
        "timeout_seconds": 86_400,
        "priority": -1000,
        "queue_name": "a.b_c-9",
        "max_attempts": 100,
        "on_lost_lease": "fail",
        "retry_backoff_seconds": 0.5,
        "labels": {"arch": "arm64"},
    }
    made = await submit(user, **fields)
    assert {name: made[name] for name in fields} == fields
    shown = (await user.get(f"/api/v1/jobs/{made['job_id']}")).json()
    assert shown == made


async def test_job_dir_defaults_to_code_dir(user: Client) -> None:
    """Unless it is said."""
    assert (await submit(user, code_dir="/job/x"))["job_dir"] == "/job/x"


async def test_a_job_for_later_waits(user: Client) -> None:
    """`submitted` until its time; a time that has passed holds nothing back."""
    at = in_seconds(3600)
    later = await submit(user, run_at=at)
    assert (later["status"], later["run_at"]) == ("submitted", at)
    assert (await submit(user, run_at=in_seconds(-5)))["status"] == "queued"
    offset = await submit(user, run_at="2199-01-01T00:00:00+01:00")
    assert offset["run_at"] == "2198-12-31T23:00:00Z"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "/name"),
    ({"name": ""}, "/name"),
    ({"name": "n" * 256}, "/name"),
    ({"name": 7}, "/name"),
    ({"job_command": ""}, "/job_command"),
    ({"job_command": "é" * 65_537}, "/job_command"),
    ({"description": "d" * 4097}, "/description"),
    ({"source_type": "svn"}, "/source_type"),
    ({"source_type": "git"}, "/git_url"),
    ({"source_type": "git", "git_url": "http://example.org/x"}, "/git_url"),
    ({"source_type": "git", "git_url": "ext::sh -c true"}, "/git_url"),
    ({"source_type": "git", "git_url": "ssh://-oProxyCommand=x/y"}, "/git_url"),
    ({"source_type": "git", "git_url": "https://[::1/x"}, "/git_url"),
    ({"source_type": "git", "git_url": "https://a/b", "git_ref": "--all"}, "/git_ref"),
    ({"source_type": "copy"}, "/source_path"),
    ({"source_type": "copy", "source_path": "here"}, "/source_path"),
    ({"code_dir": "src"}, "/code_dir"),
    ({"code_dir": "/jobs"}, "/code_dir"),
    ({"code_dir": "/job/../etc"}, "/code_dir"),
    ({"job_dir": "/etc"}, "/job_dir"),
    ({"job_env_vars": {"A": 1}}, "/job_env_vars/A"),
    ({"job_env_vars": {"": "a"}}, "/job_env_vars"),
    ({"job_env_vars": {"A=B": "a"}}, "/job_env_vars"),
    ({"job_env_vars": {"A": "x" * 262_144}}, "/job_env_vars"),
    ({"job_env_vars": []}, "/job_env_vars"),
    ({"job_env_file": "../.env"}, "/job_env_file"),
    ({"secret_env_vars": ["A"]}, "/secret_env_vars"),
    ({"job_env_vars": {"A": "abc"}, "secret_env_vars": ["A"]}, "/secret_env_vars"),
    ({"timeout_seconds": 0}, "/timeout_seconds"),
    ({"timeout_seconds": 86_401}, "/timeout_seconds"),
    ({"timeout_seconds": "60"}, "/timeout_seconds"),
    ({"timeout_seconds": True}, "/timeout_seconds"),
    ({"timeout_seconds": 1.5}, "/timeout_seconds"),
    ({"priority": 1001}, "/priority"),
    ({"priority": -1001}, "/priority"),
    ({"queue_name": "Default"}, "/queue_name"),
    ({"queue_name": "a\n"}, "/queue_name"),
    ({"queue_name": "-a"}, "/queue_name"),
    ({"queue_name": "a" * 64}, "/queue_name"),
    ({"max_attempts": 0}, "/max_attempts"),
    ({"max_attempts": 101}, "/max_attempts"),
    ({"on_lost_lease": "panic"}, "/on_lost_lease"),
    ({"retry_backoff_seconds": -1}, "/retry_backoff_seconds"),
    ({"retry_backoff_seconds": 86_401}, "/retry_backoff_seconds"),
    ({"run_at": "soon"}, "/run_at"),
    ({"run_at": "2030-02-30T00:00:00Z"}, "/run_at"),
    ({"run_at": "2030-01-01T00:00:00"}, "/run_at"),
    ({"run_at": "0001-01-01T00:00:00+14:00"}, "/run_at"),
    ({"unique_key": ""}, "/unique_key"),
    ({"unique_key": "k" * 256}, "/unique_key"),
    ({"labels": {"a": None}}, "/labels/a"),
    ({"depends_on": ["7"]}, "/depends_on/0"),
    ({"depends_on": "7"}, "/depends_on"),
    ({"status": "completed"}, "/status"),
    ({"job_id": NO_ID}, "/job_id"),
]


async def test_a_bad_field_is_refused_with_its_pointer(services: Services, user: Client) -> None:
    """422, little of the input in the answer, and nothing written."""
    for fields, pointer in BAD:
        answer = await user.post("/api/v1/jobs", json={**JOB, **fields})
        found = problem(answer, 422, "invalid_input")
        assert found["errors"][0]["pointer"] == pointer, (fields, found)
        assert len(answer.content) < 2000
    assert await services.pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_a_job_waits_for_what_it_depends_on(services: Services, user: Client) -> None:
    """It is queued when the last of them completed."""
    first, second = await submit(user), await submit(user)
    waiting = await submit(user, depends_on=[first["job_id"], second["job_id"], first["job_id"]])
    assert waiting["status"] == "submitted"
    assert waiting["depends_on"] == [first["job_id"], second["job_id"]]
    await work.run(services, first["job_id"])
    await work.run(services, second["job_id"])
    await work.until(user, waiting["job_id"], "queued")
    assert (await submit(user, depends_on=[first["job_id"]]))["status"] == "queued"


async def test_a_job_whose_dependency_fails_is_cancelled(services: Services, user: Client) -> None:
    """And says which."""
    first = await submit(user)
    waiting = await submit(user, depends_on=[first["job_id"]])
    await work.run(services, first["job_id"], Failed(1, "exit code 1"))
    ended = await work.until(user, waiting["job_id"], "cancelled")
    assert first["job_id"] in ended["last_error"]


async def test_only_own_jobs_can_be_depended_on(user: Client, stranger: Client) -> None:
    """Unknown ones and those of others alike."""
    own, other = await submit(user), await submit(stranger)
    for job_id in (other["job_id"], str(uuid4())):
        body = {**JOB, "depends_on": [own["job_id"], job_id]}
        found = problem(await user.post("/api/v1/jobs", json=body), 422, "invalid_input")
        assert [flaw["pointer"] for flaw in found["errors"]] == ["/depends_on/1"]


async def test_a_batch_is_submitted_whole(user: Client) -> None:
    """In its order, all with ids that ascend."""
    jobs = [{**JOB, "name": f"job {nth}"} for nth in range(1000)]
    answer = await user.post("/api/v1/jobs/batch", json={"jobs": jobs})
    assert answer.status_code == 201, answer.text
    made = answer.json()["jobs"]
    assert [job["name"] for job in made] == [job["name"] for job in jobs]
    assert [job["job_id"] for job in made] == sorted(job["job_id"] for job in made)
    assert {job["status"] for job in made} == {"queued"}
    assert (await user.get("/api/v1/jobs")).json()["total"] == 1000


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/jobs"),
        ({"jobs": []}, "/jobs"),
        ({"jobs": [JOB] * 1001}, "/jobs"),
        ({"jobs": JOB}, "/jobs"),
        ({"jobs": [JOB, {**JOB, "priority": 9999}]}, "/jobs/1/priority"),
        ({"jobs": [JOB, JOB, {**JOB, "depends_on": [NO_ID]}]}, "/jobs/2/depends_on/0"),
        ({"jobs": [JOB], "dry_run": True}, "/dry_run"),
    ],
)
async def test_a_batch_with_one_bad_job_is_refused_whole(
    user: Client, body: dict[str, Any], pointer: str
) -> None:
    """All or nothing."""
    found = problem(await user.post("/api/v1/jobs/batch", json=body), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer
    assert (await user.get("/api/v1/jobs")).json()["total"] == 0


async def test_a_submit_is_recorded_with_who_and_whence(user: Client) -> None:
    """The first event names the caller, its token, the request."""
    headers = {"X-Request-Id": "req-1", "User-Agent": "agent/" + "x" * 500}
    made = (await user.post("/api/v1/jobs", json=JOB, headers=headers)).json()
    me = (await user.get("/api/v1/me")).json()
    first = (await user.get(f"/api/v1/jobs/{made['job_id']}/events")).json()["events"][0]
    assert first["actor"] == {
        "type": "user",
        "id": me["user"]["user_id"],
        "token_id": me["token"]["token_id"],
    }
    assert (first["request_id"], first["ip"]) == ("req-1", "127.0.0.1")
    assert len(first["user_agent"]) == 256
    assert first["correlation_id"] is not None
