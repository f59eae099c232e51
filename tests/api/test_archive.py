"""Archived jobs: on no list, and shown by their ids as they were."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.database import Database
from reactorcide.projections.archiving import archive
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.conftest import Connection
from reactorcide.tests.support.sealing import seal_all, until_followed

AUDIT: Final = "/api/v1/audit/events"


@pytest.fixture
def settings(settings: ApiSettings, store_url: str) -> ApiSettings:
    """With a store that others see."""
    return replace(settings, object_store_url=store_url)


async def archived(services: Services, connection: Connection, database: Database) -> None:
    """Archive all that has ended by now."""
    await seal_all(connection)
    await until_followed(connection)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert (await archive(database, services.objects, later, lambda _d, _t: None)).streams > 0


async def answers(client: Client, *paths: str) -> list[Any]:
    """Return what each path shows."""
    found = []
    for path in paths:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        found.append(answer.text)
    return found


async def test_an_archived_job_is_shown_as_it_was(  # noqa: PLR0913, PLR0917  whom it concerns
    services: Services,
    user: Client,
    stranger: Client,
    auditor: Client,
    connection: Connection,
    database: Database,
) -> None:
    """State, events, attempts, past, changes, log, artifacts and trail; to those who saw it."""
    job_id = (await user.post("/api/v1/jobs", json=JOB)).json()["job_id"]
    await work.start(services, job_id)
    await work.say(services, job_id, work.Piece(0, b"hello\n"))
    await work.leave(services, job_id, {"a.txt": b"a"})
    await work.finish(services, job_id)
    path = f"/api/v1/jobs/{job_id}"
    shown = (path, f"{path}/events", f"{path}/attempts", f"{path}/diff?from=1&to=3")
    more = (f"{path}?at={datetime.now(UTC).isoformat()[:-6]}Z", f"{path}/logs", f"{path}/artifacts")
    trail = [
        f"{AUDIT}?stream_id={job_id}{rest}"
        for rest in (
            "",
            "&limit=2",
            "&limit=2&offset=1",
            "&type=job.submitted",
            "&actor=system",
            "&outcome=denied",
            "&since=2999-01-01T00:00:00Z",
            "&until=2999-01-01T00:00:00Z",
        )
    ]
    await until_followed(connection)
    before = await answers(user, *shown, *more), await answers(auditor, *shown, *trail)
    await archived(services, connection, database)
    assert (await user.get("/api/v1/jobs")).json()["jobs"] == []
    assert (await auditor.get(AUDIT, params={"type": "job.submitted"})).json()["events"] == []
    after = await answers(user, *shown, *more), await answers(auditor, *shown, *trail)
    assert after == before
    first = (await auditor.get(trail[1])).json()
    rest = await auditor.get(AUDIT, params={"stream_id": job_id, "cursor": first["next_cursor"]})
    whole = (await auditor.get(trail[0])).json()["events"]
    assert first["events"] + rest.json()["events"] == whole
    problem(await stranger.get(path), 404, "not_found")
    problem(await stranger.get(f"{path}/events"), 404, "not_found")


async def test_nothing_changes_an_archived_job(
    services: Services,
    user: Client,
    auditor: Client,
    connection: Connection,
    database: Database,
) -> None:
    """To cancel or delete it is a conflict; to ask for the same again is a new job."""
    jobs = [(await user.post("/api/v1/jobs", json=JOB)).json()["job_id"] for _ in range(2)]
    for job_id in jobs:
        await work.run(services, job_id)
    await user.delete(f"/api/v1/jobs/{jobs[1]}")
    await connection.execute("DELETE FROM unfinished_objects")
    kept, deleted = (f"/api/v1/jobs/{job_id}" for job_id in jobs)
    await archived(services, connection, database)
    for refused in (await user.post(f"{kept}/cancel"), await user.delete(kept)):
        assert problem(refused, 409, "conflict")["current_status"] == "completed"
    again = await user.post(f"{kept}/retry")
    assert (again.status_code, again.json()["retry_of"]) == (201, jobs[0])
    for path in (deleted, f"{deleted}/events", f"{deleted}/attempts"):
        problem(await user.get(path), 404, "not_found")
    trail = (await auditor.get(AUDIT, params={"stream_id": jobs[1]})).json()["events"]
    assert trail[0]["type"] == "job.deleted"


async def test_an_archived_token_is_shown_as_it_was(  # noqa: PLR0913, PLR0917  whom it concerns
    services: Services,
    user: Client,
    stranger: Client,
    auditor: Client,
    connection: Connection,
    database: Database,
) -> None:
    """Now, once, and what changed; it opens nothing, and to revoke it again changes nothing."""
    made = (await user.post("/api/v1/tokens", json={"name": "old"})).json()
    path = f"/api/v1/tokens/{made['token_id']}"
    async with client_of(services, made["token"]) as holder:
        assert (await holder.get("/api/v1/me")).status_code == 200
    assert (await user.delete(path)).status_code == 204
    position = await connection.fetchval("SELECT max(position) FROM events")
    shown = (path, f"{path}?at={position - 1}", f"{path}?at={position}", f"{path}/diff?from=1&to=2")
    trail = f"{AUDIT}?stream_id={made['token_id']}"
    await until_followed(connection)
    before = await answers(user, *shown), await answers(auditor, trail)
    await archived(services, connection, database)
    assert (await answers(user, *shown), await answers(auditor, trail)) == before
    listed = (await user.get("/api/v1/tokens")).json()["tokens"]
    assert made["token_id"] not in {one["token_id"] for one in listed}
    assert (await user.delete(path)).status_code == 204
    problem(await user.post(f"{path}/rotate", json={}), 409, "conflict")
    problem(await stranger.get(path), 404, "not_found")
    problem(await user.get(f"/api/v1/jobs/{made['token_id']}"), 404, "not_found")
    problem(await user.get(f"/api/v1/jobs/{made['token_id']}/events"), 404, "not_found")
    async with client_of(services, made["token"]) as holder:
        problem(await holder.get("/api/v1/me"), 401, "unauthorized")
    assert await connection.fetchval("SELECT count(*) FROM tokens WHERE name = 'old'") == 0


async def test_the_trail_says_up_to_when_something_may_lack(
    services: Services,
    user: Client,
    auditor: Client,
    connection: Connection,
    database: Database,
) -> None:
    """Unless nothing that is asked for can be in the archive; also a request's tree."""
    job_id = (await user.post("/api/v1/jobs", json=JOB)).json()["job_id"]
    await user.post(f"/api/v1/jobs/{job_id}/cancel")
    (*_, last) = (await user.get(f"/api/v1/jobs/{job_id}/events")).json()["events"]

    async def told(query: str) -> str | None:
        until: str | None = (await auditor.get(f"{AUDIT}{query}")).json()["archived_until"]
        return until

    assert await told("") is None
    await archived(services, connection, database)
    for query in ("", "?type=job.submitted", "?outcome=denied", f"?since={last['recorded_at']}"):
        assert await told(query) == last["recorded_at"], query
    for query in (
        f"?stream_id={job_id}",
        "?type=user.registered",
        "?type=event.redacted",
        "?stream_type=archive",
        "?since=2999-01-01T00:00:00Z",
    ):
        assert await told(query) is None, query
    tree = (await auditor.get("/api/v1/audit/requests/nobody")).json()
    assert (tree["events"], tree["archived_until"]) == ([], last["recorded_at"])
