"""The tree of a request: its own events, and below each of them what followed from it."""

from typing import Any, Final

import pytest

from reactorcide.api.audit_views import RequestTreeView
from reactorcide.api.services import Services
from reactorcide.eventstore.domain.job import Cancelled, Failed, Outcome
from reactorcide.projections.consequences import SQL, tree_of
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client
from reactorcide.tests.api.test_errors import problem

PATH: Final = "/api/v1/audit/requests"


async def tree(client: Client, request_id: str, **query: Any) -> dict[str, Any]:
    """Return one part of a request's tree."""
    answer = await client.get(f"{PATH}/{request_id}", params=query)
    assert answer.status_code == 200, answer.text
    RequestTreeView.model_validate_json(answer.content)
    found: dict[str, Any] = answer.json()
    return found


def drawn(found: dict[str, Any]) -> list[str]:
    """Return the events as an indented list; each stands right below what it follows from."""
    path: list[str] = []
    for event in found["events"]:
        del path[event["depth"] :]
        assert event["caused_by"] == (path[-1] if path else None)
        path.append(event["event_id"])
    return ["  " * event["depth"] + event["type"] for event in found["events"]]


async def submit(client: Client, request_id: str, **fields: Any) -> str:
    """Submit a job with a request id; return its own."""
    answer = await client.post(
        "/api/v1/jobs", json={**JOB, **fields}, headers={"X-Request-ID": request_id}
    )
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_what_a_worker_does_follows_from_the_submission(
    services: Services, user: Client, auditor: Client
) -> None:
    """Though its events carry no request: each follows from the one before it."""
    job_id = await submit(user, "of-una")
    await submit(user, "another")
    await work.run(services, job_id)
    found = await tree(auditor, "of-una")
    assert drawn(found) == [
        "job.submitted",
        "  job.claimed",
        "    job.started",
        "      job.completed",
    ]
    assert {event["stream_id"] for event in found["events"]} == {job_id}
    assert (found["next_cursor"], found["is_cut"]) == (None, False)
    history = (await user.get(f"/api/v1/jobs/{job_id}/events")).json()["events"]
    shown = [
        {name: value for name, value in event.items() if name not in {"caused_by", "depth"}}
        for event in found["events"]
    ]
    assert shown == history


@pytest.mark.parametrize(
    ("outcome", "last"), [(None, "job.queued"), (Failed(1, "exit code 1"), "job.cancelled")]
)
async def test_what_becomes_of_dependents_follows_from_the_job_they_waited_for(
    services: Services, user: Client, auditor: Client, outcome: Outcome | None, last: str
) -> None:
    """They are queued or cancelled because of its end, and say so."""
    first = await submit(user, "first")
    second = await submit(user, "second", depends_on=[first])
    third = await submit(user, "third", depends_on=[second])
    await work.run(services, first, outcome)
    await upkeep(services.pool, services.jobs)
    await upkeep(services.pool, services.jobs)
    found = await tree(auditor, "first")
    end = next(e for e in found["events"] if e["type"] in {"job.completed", "job.failed"})
    (effect,) = [e for e in found["events"] if e["caused_by"] == end["event_id"]]
    assert (effect["type"], effect["stream_id"]) == (last, second)
    assert effect["causation_id"] == end["event_id"]
    assert effect["correlation_id"] == found["events"][0]["correlation_id"]
    if outcome is not None:
        assert drawn(found)[-1].strip() == "job.cancelled"
        assert found["events"][-1]["stream_id"] == third
    assert drawn(await tree(auditor, "second")) == ["job.submitted"]


async def test_a_retry_follows_from_the_end_of_the_job(
    services: Services, user: Client, auditor: Client
) -> None:
    """In the tree of the first request; in its own it is where all begins."""
    job_id = await submit(user, "first")
    await work.run(services, job_id, Failed(1, "exit code 1"))
    headers = {"X-Request-ID": "again"}
    again = (await user.post(f"/api/v1/jobs/{job_id}/retry", headers=headers)).json()["job_id"]
    await work.run(services, again)
    own = ["job.submitted", "  job.claimed", "    job.started", "      job.completed"]
    assert drawn(await tree(auditor, "again")) == own
    before = [*own[:-1], "      job.failed"]
    assert drawn(await tree(auditor, "first")) == before + ["  " * 4 + line for line in own]


async def test_what_another_request_did_is_that_ones(
    services: Services, user: Client, auditor: Client
) -> None:
    """What a worker did then follows from both."""
    job_id = await submit(user, "first")
    await work.start(services, job_id)
    await user.post(f"/api/v1/jobs/{job_id}/cancel", headers={"X-Request-ID": "stop"})
    await work.finish(services, job_id, Cancelled(143))
    assert drawn(await tree(auditor, "stop")) == ["job.cancel_requested", "  job.cancelled"]
    shown = [line.strip() for line in drawn(await tree(auditor, "first"))]
    assert shown == ["job.submitted", "job.claimed", "job.started", "job.cancelled"]


async def test_a_tree_is_turned_page_by_page(user: Client, auditor: Client) -> None:
    """By its beginnings: each comes once, with all below it."""
    headers = {"X-Request-ID": "many"}
    body = {"jobs": [JOB] * 7}
    made = (await user.post("/api/v1/jobs/batch", json=body, headers=headers)).json()["jobs"]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        found = await tree(auditor, "many", **query)
        assert drawn(found) == ["job.submitted"] * len(found["events"])
        seen += [event["stream_id"] for event in found["events"] if event["depth"] == 0]
        if found["next_cursor"] is None:
            break
        query["cursor"] = found["next_cursor"]
    assert seen == [job["job_id"] for job in made]


async def test_a_tree_without_end_is_cut(services: Services, user: Client, auditor: Client) -> None:
    """So much is read and no more, and the answer says so."""
    headers = {"X-Request-ID": "many"}
    body = {"jobs": [JOB] * 7}
    made = (await user.post("/api/v1/jobs/batch", json=body, headers=headers)).json()["jobs"]
    await work.run(services, made[0]["job_id"])
    await tree(auditor, "many")  # the trail has followed
    cut = await tree_of(services.pool, "many", 0, 50, 9)
    assert (len(cut.nodes), cut.is_cut) == (9, True)
    whole = await tree_of(services.pool, "many", 0, 50, 11)
    assert (len(whole.nodes), whole.is_cut) == (10, False)


async def test_who_may_not_see_the_trail_sees_no_tree(
    user: Client, operator: Client, auditor: Client
) -> None:
    """And what is no request id is not there; an unknown one has no events."""
    for client in (user, operator):
        problem(await client.get(f"{PATH}/some"), 403, "forbidden")
    for odd in ("%00", "a%20b", "x" * 129):
        problem(await auditor.get(f"{PATH}/{odd}"), 404, "not_found")
    for query in ({"limit": "0"}, {"limit": "201"}, {"cursor": "?"}, {"offset": "1"}):
        problem(await auditor.get(f"{PATH}/some", params=query), 422, "invalid_input")
    assert (await tree(auditor, "unknown"))["events"] == []


async def test_no_step_reads_a_whole_table(services: Services) -> None:
    """Each walks an index, whatever the tables hold."""
    arguments: dict[str, tuple[Any, ...]] = {
        "begun": ("r", 0, 51),
        "later": ([], [], [], [], 100),
        "caused": ([], 100),
    }
    async with services.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        for name, values in arguments.items():
            rows = await connection.fetch("EXPLAIN " + SQL[name], *values)
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan" not in plan, plan
