"""Once, however often it is asked: Idempotency-Key and unique_key."""

import asyncio
from typing import Any

import pytest

from reactorcide.api.services import Services
from reactorcide.projections import idempotency
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit


def keyed(key: str) -> dict[str, str]:
    """Return the header."""
    return {"Idempotency-Key": key}


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/jobs", JOB), ("/api/v1/jobs/batch", {"jobs": [JOB, JOB]})]
)
async def test_the_same_key_and_body_get_the_first_answer_again(
    services: Services, user: Client, path: str, body: dict[str, Any]
) -> None:
    """Byte for byte, marked as replayed, and nothing is made twice."""
    first = await user.post(path, json=body, headers=keyed("k 1"))
    assert first.status_code == 201, first.text
    assert "idempotent-replayed" not in first.headers
    job = first.json().get("job_id")
    if job:
        await work.run(services, job)
    again = await user.post(path, json=body, headers=keyed("k 1"))
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers.get("location") == first.headers.get("location")
    assert again.headers.get("etag") == first.headers.get("etag")
    total = (await user.get("/api/v1/jobs")).json()["total"]
    assert total == len(body.get("jobs", [body]))


async def test_a_key_with_another_body_or_path_is_422(user: Client) -> None:
    """A key stands for one request."""
    await user.post("/api/v1/jobs", json=JOB, headers=keyed("k"))
    other = {**JOB, "name": "other"}
    problem(await user.post("/api/v1/jobs", json=other, headers=keyed("k")), 422, "invalid_input")
    batch = {"jobs": [JOB]}
    answer = await user.post("/api/v1/jobs/batch", json=batch, headers=keyed("k"))
    problem(answer, 422, "invalid_input")


async def test_keys_of_two_users_have_nothing_to_do_with_each_other(
    user: Client, stranger: Client
) -> None:
    """Each has its own."""
    first = await user.post("/api/v1/jobs", json=JOB, headers=keyed("k"))
    second = await stranger.post("/api/v1/jobs", json=JOB, headers=keyed("k"))
    assert second.status_code == 201
    assert second.json()["job_id"] != first.json()["job_id"]


@pytest.mark.parametrize("key", ["", "k" * 256, "k\u00e9", "a\tb"])
async def test_a_malformed_key_is_400(user: Client, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await user.post("/api/v1/jobs", json=JOB, headers=headers)
    problem(answer, 400, "malformed_request")


async def test_a_refused_request_does_not_use_its_key_up(user: Client) -> None:
    """After a 4xx the key is free."""
    bad = {**JOB, "depends_on": ["00000000-0000-0000-0000-000000000000"]}
    problem(await user.post("/api/v1/jobs", json=bad, headers=keyed("k")), 422, "invalid_input")
    good = await user.post("/api/v1/jobs", json=JOB, headers=keyed("k"))
    assert good.status_code == 201


async def test_a_key_still_in_flight_is_409(services: Services, user: Client) -> None:
    """The second does not wait."""
    me = (await user.get("/api/v1/me")).json()["user"]["user_id"]
    async with services.pool.acquire() as other, other.transaction():
        assert await idempotency.try_lock(other, me, "k")
        answer = await user.post("/api/v1/jobs", json=JOB, headers=keyed("k"))
    assert problem(answer, 409, "conflict")["current_status"] == "in_flight"


async def test_of_many_requests_with_one_key_one_is_done(user: Client) -> None:
    """The others are told to wait, or get its answer."""
    answers = await asyncio.gather(
        *(user.post("/api/v1/jobs", json=JOB, headers=keyed("k")) for _ in range(12))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["job_id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert (await user.get("/api/v1/jobs")).json()["total"] == 1


async def test_a_unique_key_gives_the_job_that_has_not_ended(
    services: Services, user: Client
) -> None:
    """200 and `Deduplicated: true`; a new one once it has ended."""
    first = await user.post("/api/v1/jobs", json={**JOB, "unique_key": "u"})
    assert first.status_code == 201
    body = {**JOB, "name": "second", "unique_key": "u"}
    again = await user.post("/api/v1/jobs", json=body)
    assert (again.status_code, again.headers["deduplicated"]) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    await work.run(services, first.json()["job_id"])
    new = await user.post("/api/v1/jobs", json=body)
    assert new.status_code == 201
    assert "deduplicated" not in new.headers


async def test_a_unique_key_is_of_one_owner_and_one_queue(user: Client, stranger: Client) -> None:
    """Elsewhere it means another job."""
    first = await submit(user, unique_key="u")
    assert (await submit(user, unique_key="u", queue_name="other"))["job_id"] != first["job_id"]
    assert (await submit(stranger, unique_key="u"))["job_id"] != first["job_id"]


async def test_of_many_submits_with_one_unique_key_one_is_new(user: Client) -> None:
    """Whoever is first; all get the same job."""
    body = {**JOB, "unique_key": "u"}
    answers = await asyncio.gather(*(user.post("/api/v1/jobs", json=body) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.json()["job_id"] for answer in answers}) == 1


async def test_a_batch_respects_unique_keys_within_itself_too(user: Client) -> None:
    """The second of two gets the first's job."""
    first = await submit(user, unique_key="a")
    jobs = [{**JOB, "unique_key": key} if key else JOB for key in ("b", None, "a", "b", None)]
    answer = await user.post("/api/v1/jobs/batch", json={"jobs": jobs})
    assert answer.status_code == 201, answer.text
    ids = [job["job_id"] for job in answer.json()["jobs"]]
    assert ids[2] == first["job_id"]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 4


async def test_both_keys_together_give_the_deduplicated_answer_again(user: Client) -> None:
    """The replay says what the first answer said."""
    await submit(user, unique_key="u")
    body = {**JOB, "unique_key": "u"}
    first = await user.post("/api/v1/jobs", json=body, headers=keyed("k"))
    again = await user.post("/api/v1/jobs", json=body, headers=keyed("k"))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["deduplicated"] == again.headers["idempotent-replayed"] == "true"
