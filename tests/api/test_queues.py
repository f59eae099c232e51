"""Queues: counted for those who see every job, page by page."""

from typing import Any

import pytest

from reactorcide.api.services import Services
from reactorcide.api.views import QueueListView
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem

PATH = "/api/v1/queues"


async def _submit(client: Client, **fields: Any) -> str:
    answer = await client.post("/api/v1/jobs", json={**JOB, **fields})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def _queue(queue_name: str, **counts: int) -> dict[str, Any]:
    none = {"submitted": 0, "queued": 0, "claimed": 0, "running": 0}
    return {"queue_name": queue_name, **none, **counts}


async def test_jobs_are_counted_by_queue_and_status(
    services: Services, user: Client, stranger: Client, auditor: Client
) -> None:
    """Everybody's; those that have ended are not."""
    assert (await auditor.get(PATH)).json()["queues"] == []
    await _submit(user, queue_name="b")
    await _submit(stranger, queue_name="b")
    await work.start(services, await _submit(user, queue_name="b"))
    await _submit(user, queue_name="a", run_at="2040-01-01T00:00:00Z")
    await work.run(services, await _submit(user, queue_name="c"))
    answer = await auditor.get(PATH)
    assert answer.status_code == 200, answer.text
    QueueListView.model_validate_json(answer.content)
    assert answer.json() == {
        "queues": [_queue("a", submitted=1), _queue("b", queued=2, running=1)],
        "total": 2,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
    }


async def test_queues_are_listed_page_by_page(user: Client, operator: Client) -> None:
    """By offset and by cursor alike, each once, in the order of their names."""
    names = ["a", "a-b", "a.b", "a0", "b", "z_z"]
    for name in names:
        await _submit(user, queue_name=name)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await operator.get(PATH, params=query)).json()
        assert page["total"] == len(names)
        by_offset = await operator.get(PATH, params={"limit": 2, "offset": len(seen)})
        assert by_offset.json()["queues"] == page["queues"]
        seen += [queue["queue_name"] for queue in page["queues"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == names


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": "0"}, "/limit"),
        ({"limit": "201"}, "/limit"),
        ({"offset": "-1"}, "/offset"),
        ({"cursor": ""}, "/cursor"),
        ({"cursor": "?"}, "/cursor"),
        ({"cursor": "AA"}, "/cursor"),
        ({"cursor": "w6Q"}, "/cursor"),
        ({"cursor": "YQ", "offset": "1"}, "/cursor"),
        ({"queue_name": "a"}, "/queue_name"),
    ],
)
async def test_a_malformed_page_is_422(
    operator: Client, query: dict[str, str], pointer: str
) -> None:
    """With a pointer to what is wrong."""
    found = problem(await operator.get(PATH, params=query), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer


async def test_who_sees_every_job_sees_the_queues(
    services: Services, anonymous: Client, user: Client, auditor: Client, operator: Client
) -> None:
    """A plain user does not, nor a token without one of the two scopes."""
    problem(await anonymous.get(PATH), 401, "unauthorized")
    problem(await user.get(PATH), 403, "forbidden")
    for client in (auditor, operator):
        assert (await client.get(PATH)).status_code == 200
    for scope, status in (("queues:manage", 200), ("jobs:read", 200), ("jobs:write", 403)):
        token, _ = await token_for(services, "oskar", "operator", scopes=(scope,))
        async with client_of(services, token) as narrow:
            assert (await narrow.get(PATH)).status_code == status
