"""Submitting jobs for handlers: what is taken, what is refused, and what is kept of it."""

import json
from typing import Any

import pytest

from reactorcide.api.jobs.requests import JobRequest
from reactorcide.api.services import Services
from reactorcide.api.views import JobView
from reactorcide.eventstore.domain.job import Completed
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client
from reactorcide.tests.api.test_errors import problem

HANDLER: dict[str, Any] = {"name": "hello", "handler": "mail.send"}
MANY_SHAPES: list[Any] = [
    None,
    {},
    {"to": None, "cc": [None, {"bcc": None}]},
    [1, -1.5, True, "é\U0001f680", []],
    "text",
    0,
    False,
    2**63 - 1,
]


def args_of(size: int) -> dict[str, str]:
    """Return arguments that take so many bytes as compact JSON."""
    return {"text": "x" * (size - len('{"text":""}'))}


async def test_a_job_for_a_handler_is_queued(user: Client) -> None:
    """It has a handler and args instead of a command, and reads the same later."""
    answer = await user.post("/api/v1/jobs", json={**HANDLER, "args": {"to": "ada"}})
    assert answer.status_code == 201, answer.text
    JobView.model_validate_json(answer.content)
    made = answer.json()
    assert (made["status"], made["job_command"]) == ("queued", None)
    assert (made["handler"], made["args"]) == ("mail.send", {"to": "ada"})
    assert (await user.get(answer.headers["location"])).json() == made


@pytest.mark.parametrize("args", MANY_SHAPES, ids=json.dumps)
async def test_args_are_any_json_and_kept_as_they_are(user: Client, args: Any) -> None:
    """Nulls inside of them included; left out they are null."""
    made = (await user.post("/api/v1/jobs", json={**HANDLER, "args": args})).json()
    assert made["args"] == args
    path = f"/api/v1/jobs/{made['job_id']}"
    assert (await user.get(path)).json()["args"] == args
    submitted = (await user.get(f"{path}/events")).json()["events"][0]["data"]
    assert submitted.get("args") == args


async def test_args_may_be_as_large_as_the_limit(user: Client) -> None:
    """Measured as compact UTF-8 JSON; above it the answer says how large they are."""
    assert (
        await user.post("/api/v1/jobs", json={**HANDLER, "args": args_of(262_144)})
    ).status_code == 201
    for args, size in ((args_of(262_145), "262145"), ("é" * 200_000, "400002")):
        answer = await user.post("/api/v1/jobs", json={**HANDLER, "args": args})
        (flaw,) = problem(answer, 422, "invalid_input")["errors"]
        assert (flaw["pointer"], flaw["code"]) == ("/args", "too_many_bytes")
        assert "262144" in flaw["message"]
        assert size in flaw["message"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "n"}, "/job_command"),
    ({"name": "n", "handler": None, "job_command": None}, "/job_command"),
    ({**JOB, "handler": "a"}, "/job_command"),
    ({**JOB, "args": {}}, "/args"),
    ({"name": "n", "args": 1}, "/job_command"),
    ({"name": "n", "handler": ""}, "/handler"),
    ({"name": "n", "handler": "-a"}, "/handler"),
    ({"name": "n", "handler": "a b"}, "/handler"),
    ({"name": "n", "handler": "a\n"}, "/handler"),
    ({"name": "n", "handler": "é"}, "/handler"),
    ({"name": "n", "handler": "a" * 256}, "/handler"),
    ({"name": "n", "handler": 7}, "/handler"),
    ({**HANDLER, "source_type": "copy", "source_path": "/srv"}, "/source_type"),
    ({**HANDLER, "source_path": "/srv"}, "/source_path"),
    ({**HANDLER, "git_url": "https://a/b"}, "/git_url"),
    ({**HANDLER, "git_ref": "main"}, "/git_ref"),
    ({**HANDLER, "code_dir": "/job/x"}, "/code_dir"),
    ({**HANDLER, "job_dir": "/job/x"}, "/job_dir"),
    ({**HANDLER, "runner_image": "debian"}, "/runner_image"),
    ({**HANDLER, "secret_env_vars": ["TOKEN"]}, "/secret_env_vars"),
    ({**HANDLER, "job_env_vars": {"A": "1"}}, "/job_env_vars"),
    ({**HANDLER, "job_env_file": ".env"}, "/job_env_file"),
]


async def test_what_is_neither_nor_is_refused(services: Services, user: Client) -> None:
    """422 with the field's pointer: no job has two things to run, or none."""
    for body, pointer in BAD:
        found = problem(await user.post("/api/v1/jobs", json=body), 422, "invalid_input")
        assert found["errors"][0]["pointer"] == pointer, (body, found)
    batch = {"jobs": [HANDLER, {"name": "n"}]}
    found = problem(await user.post("/api/v1/jobs/batch", json=batch), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == "/jobs/1/job_command"
    assert await services.pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_every_flaw_of_a_handlers_job_is_named(user: Client) -> None:
    """Not only the first."""
    body = {**HANDLER, "git_ref": "main", "job_env_vars": {"A": "1"}}
    found = problem(await user.post("/api/v1/jobs", json=body), 422, "invalid_input")
    assert [flaw["pointer"] for flaw in found["errors"]] == ["/git_ref", "/job_env_vars"]


async def test_what_says_the_default_does_no_harm(user: Client) -> None:
    """A client may send every field."""
    fields: dict[str, Any] = {
        "job_command": None,
        "source_type": "none",
        "git_url": None,
        "job_env_vars": {},
    }
    answer = await user.post("/api/v1/jobs", json={**HANDLER, **fields, "handler": "a" * 255})
    assert answer.status_code == 201, answer.text


async def test_a_batch_and_a_retry_take_handlers(services: Services, user: Client) -> None:
    """A retry asks for the same once more."""
    batch = {"jobs": [JOB, {**HANDLER, "args": [1]}]}
    made = (await user.post("/api/v1/jobs/batch", json=batch)).json()["jobs"]
    assert [job["handler"] for job in made] == [None, "mail.send"]
    path = f"/api/v1/jobs/{made[1]['job_id']}"
    await work.run(services, made[1]["job_id"], Completed({"sent": [None]}, None))
    ended = (await user.get(path)).json()
    assert (ended["status"], ended["exit_code"]) == ("completed", None)
    again = (await user.post(f"{path}/retry")).json()
    assert (again["handler"], again["args"]) == ("mail.send", [1])


async def test_the_result_stands_in_the_outcome(services: Services, user: Client) -> None:
    """As it was returned, nulls included; `exit_code` is null, for no command ran."""
    made = (await user.post("/api/v1/jobs", json=HANDLER)).json()
    await work.run(services, made["job_id"], Completed({"sent": [None]}, None))
    events = (await user.get(f"/api/v1/jobs/{made['job_id']}/events")).json()["events"]
    completed = {"attempt": 1, "exit_code": None, "result": {"sent": [None]}}
    assert events[-1]["data"] == completed


def test_the_schema_says_either_or() -> None:
    """Clients that are made from it know."""
    schema = JobRequest.model_json_schema()
    assert [one["required"] for one in schema["oneOf"]] == [["job_command"], ["handler"]]
