"""The whole queue as of a moment: what the lists said then, for whom, and what is refused."""

from typing import Any, Final

import pytest

from reactorcide.api.services import Services
from reactorcide.eventstore import store
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem

JOBS: Final = "/api/v1/jobs"
QUEUES: Final = "/api/v1/queues"


async def submitted(client: Client, **fields: Any) -> str:
    """Submit a job; return its id."""
    answer = await client.post(JOBS, json={**JOB, **fields})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_both_lists_answer_again_what_they_answered(
    services: Services, user: Client, stranger: Client, auditor: Client
) -> None:
    """By position and by time, for everybody who asked; a deleted job is there again."""
    questions = [
        (auditor, QUEUES, {}),
        (auditor, JOBS, {}),
        (auditor, JOBS, {"status": "running"}),
        (auditor, JOBS, {"queue_name": "b", "limit": "1"}),
        (user, JOBS, {}),
        (user, JOBS, {"status": "queued"}),
        (stranger, JOBS, {"status": "completed"}),
    ]
    moments: list[tuple[int, str, list[Any]]] = []

    async def remember() -> None:
        position, now = await store.present(services.pool)
        answers = [(await who.get(path, params=query)).json() for who, path, query in questions]
        moments.append((position, now.isoformat(), answers))

    await remember()
    first = await submitted(user, queue_name="b")
    await remember()
    second = await submitted(stranger, queue_name="b", run_at="2040-01-01T00:00:00Z")
    await work.start(services, first)
    await remember()
    await work.finish(services, first)
    assert (await stranger.post(f"{JOBS}/{second}/cancel")).status_code == 200
    await remember()
    assert (await user.delete(f"{JOBS}/{first}")).status_code == 204
    await submitted(user)
    await remember()
    for position, time, answers in moments:
        for at in (str(position), time):
            for (who, path, query), answer in zip(questions, answers, strict=True):
                again = await who.get(path, params={**query, "at": at})
                assert again.status_code == 200, again.text
                assert again.json() == answer, (path, query, at)
                assert again.headers["At-Position"] == str(position)


async def test_before_the_first_event_there_is_nothing(auditor: Client) -> None:
    """Neither a job nor a queue: an empty list."""
    for at in ("0", "2000-01-01T00:00:00Z"):
        for path, plural in ((JOBS, "jobs"), (QUEUES, "queues")):
            answer = (await auditor.get(path, params={"at": at})).json()
            assert (answer[plural], answer["total"]) == ([], 0)


@pytest.mark.parametrize("path", [JOBS, QUEUES])
@pytest.mark.parametrize(
    ("at", "code"),
    [
        ("999999999", "in_the_future"),
        ("2999-01-01T00:00:00Z", "in_the_future"),
        ("2026-01-01", "moment"),
        ("-1", "moment"),
        ("", "moment"),
    ],
)
async def test_a_moment_that_is_none_is_422(auditor: Client, path: str, at: str, code: str) -> None:
    """To come, without an offset, or no moment at all."""
    (flaw,) = problem(await auditor.get(path, params={"at": at}), 422, "invalid_input")["errors"]
    assert (flaw["pointer"], flaw["code"]) == ("/at", code)


@pytest.mark.parametrize(
    "other",
    [
        {"offset": "1"},
        {"source_type": "none"},
        {"label.a": "b"},
        {"q": "a"},
        {"created_after": "2026-01-01T00:00:00Z"},
        {"created_before": "2026-01-01T00:00:00Z"},
    ],
)
async def test_other_filters_do_not_go_with_a_moment(
    auditor: Client, other: dict[str, str]
) -> None:
    """Rather an error than an answer to another question."""
    refused = problem(await auditor.get(JOBS, params={"at": "1", **other}), 422, "invalid_input")
    (name,) = other
    (flaw,) = refused["errors"]
    assert (flaw["pointer"], flaw["code"]) == (f"/{name.partition('.')[0]}", "not_with_at")
    assert "status, queue_name, user_id, limit and cursor" in flaw["message"]


async def test_the_past_is_as_visible_as_the_present(services: Services, user: Client) -> None:
    """A plain user sees its own jobs alone, and no queues."""
    problem(await user.get(QUEUES, params={"at": "1"}), 403, "forbidden")
    token, other = await token_for(services, "strange")
    problem(await user.get(JOBS, params={"at": "1", "user_id": str(other)}), 403, "forbidden")
    async with client_of(services, token) as stranger:
        await submitted(stranger)
        position, _ = await store.present(services.pool)
        for who, number in ((stranger, 1), (user, 0)):
            found = (await who.get(JOBS, params={"at": str(position)})).json()
            assert len(found["jobs"]) == found["total"] == number
