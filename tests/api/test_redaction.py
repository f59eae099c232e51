"""An event is redacted: nothing of it is left anywhere in the database, all else goes on."""

import asyncio
import json
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.api.services import Services
from reactorcide.eventstore import store
from reactorcide.eventstore.canonical import canonical
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Completed, DeleteJob, Failed
from reactorcide.eventstore.ids import new_id
from reactorcide.projections.projection import REGISTRY
from reactorcide.projections.verify import verify
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.conftest import Connection
from reactorcide.tests.support.sealing import seal_all, until_followed

CANARY: Final = "kanarienvogel"
REASON: Final = {"reason": "a customer asked for it"}
TELLING: Final[dict[str, Any]] = {
    "name": CANARY,
    "job_command": f"echo {CANARY}",
    "description": CANARY,
    "source_type": "git",
    "git_url": f"https://example.org/{CANARY}.git",
    "git_ref": CANARY,
    "code_dir": f"/job/{CANARY}",
    "job_dir": f"/job/{CANARY}",
    "runner_image": CANARY,
    "job_env_vars": {CANARY: CANARY, "SECRET": "secret"},
    "secret_env_vars": ["SECRET"],
    "job_env_file": CANARY,
    "unique_key": CANARY,
    "labels": {"bird": CANARY, CANARY: "y"},
    "queue_name": "birds",
    "priority": 7,
}

_TABLES: Final = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""


async def tables_with(connection: Connection, word: str) -> list[str]:
    """Return the tables of which a row, as text, has the word; and the planner's samples."""
    await connection.execute("VACUUM (ANALYZE)")  # as the documentation says
    tables = [row[0] for row in await connection.fetch(_TABLES)] + ["pg_stats"]
    found = []
    for table in tables:
        sql = f"SELECT EXISTS (SELECT FROM {table} AS t WHERE strpos(t::text, $1) > 0)"  # noqa: S608
        if await connection.fetchval(sql, word):
            found.append(table)
    return sorted(found)


async def position_of(services: Services, stream_id: str, wire_type: str) -> int:
    """Return where a stream's event is."""
    recorded = await store.read_stream(services.pool, UUID(stream_id))
    return next(one.position for one in recorded if one.type == wire_type)


async def redacted(client: Client, position: int, status: int = 200) -> dict[str, Any]:
    """Redact an event; return the answer."""
    answer = await client.post(f"/api/v1/audit/events/{position}/redact", json=REASON)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def an_ended_job(services: Services, client: Client, **fields: Any) -> dict[str, Any]:
    """Submit a job and let it complete; return what the submit answered."""
    asked = {"name": "n", "job_command": "true"} | fields
    answer = await client.post("/api/v1/jobs", json=asked, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    await work.run(services, job["job_id"])
    return job


async def assert_equal(database_uri: str) -> None:
    """Fail unless all tables are what the log makes."""
    for projection in REGISTRY:
        found = await verify(Database(database_uri), projection, lambda _done, _all: None)
        assert found.differences == (), projection.name


async def test_nothing_of_a_request_is_left_in_the_database(
    services: Services, user: Client, admin: Client, connection: Connection, database_uri: str
) -> None:
    """No table has it, the job is still shown, now and then, and the tables equal the log."""
    job = await an_ended_job(services, user, **TELLING)
    path = f"/api/v1/jobs/{job['job_id']}"
    await seal_all(connection)
    before = (await admin.get(path)).json()
    assert {"public.events", "public.idempotency_keys"} < {*await tables_with(connection, CANARY)}
    position = await position_of(services, job["job_id"], "job.submitted")
    answer = await redacted(admin, position)
    assert await tables_with(connection, CANARY) == []
    assert answer["data"]["name"] == answer["data"]["job_command"] == "[redacted]"

    after = (await admin.get(path)).json()
    kept = ("status", "version", "queue_name", "priority", "user_id", "attempt", "completed_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert (after["name"], after["labels"], after["job_env_vars"]) == ("[redacted]", {}, {})
    (listed,) = (await admin.get("/api/v1/jobs", params={"queue_name": "birds"})).json()["jobs"]
    assert listed == after
    (first, *_), *_ = [(await admin.get(f"{path}/events")).json()["events"]]
    assert first == answer
    then = (await admin.get(path, params={"at": position})).json()
    assert (then["name"], then["status"]) == ("[redacted]", "queued")
    await assert_equal(database_uri)


async def test_who_redacted_what_and_why_is_on_record(
    services: Services, user: Client, admin: Client, connection: Connection
) -> None:
    """With the hash of what is left; the salt is gone, the hashes of the tree are not."""
    job = await an_ended_job(services, user)
    await seal_all(connection)
    position = await position_of(services, job["job_id"], "job.submitted")
    tree = "SELECT positions, payload_hashes, leaf_hashes, salts FROM sealed_tiles"
    (before,) = await connection.fetch(tree)
    await redacted(admin, position)
    (after,) = await connection.fetch(tree)
    assert before[:3] == after[:3]
    nth = before["positions"].index(position)
    salts = bytearray(before["salts"])
    salts[16 * nth : 16 * nth + 16] = bytes(16)
    assert after["salts"] == salts
    assert before["salts"] != salts

    told = await store.read_stream(connection, UUID(job["job_id"]))
    (fact,) = await store.read_stream(connection, told[0].event_id)
    assert (fact.stream_type, fact.type, fact.version) == ("redaction", "event.redacted", 1)
    left = sha256(canonical(json.loads(told[0].data))).hexdigest()
    assert json.loads(fact.data) == {"position": position, **REASON, "remaining_hash": left}
    await until_followed(connection)
    (shown,) = (await admin.get("/api/v1/audit/events", params={"type": "event.redacted"})).json()[
        "events"
    ]
    me = (await admin.get("/api/v1/me")).json()["user"]["user_id"]
    assert (shown["actor"]["id"], shown["position"]) == (me, fact.position)


async def test_an_error_and_a_result_are_redacted_as_well(
    services: Services, user: Client, admin: Client, connection: Connection, database_uri: str
) -> None:
    """Each event by itself; what others of the job tell stays."""
    failed = await an_ended_job(services, user)
    await work.command(services, failed["job_id"], DeleteJob())
    body = {"name": CANARY, "handler": "h", "args": {"a": CANARY}}
    other = (await user.post("/api/v1/jobs", json=body)).json()
    await work.run(services, other["job_id"], Completed(result=[CANARY], exit_code=None))
    third = (await user.post("/api/v1/jobs", json=body)).json()
    await work.run(services, third["job_id"], Failed(1, CANARY))
    await seal_all(connection)
    for job, kind in ((other, "job.completed"), (third, "job.failed"), (failed, "job.submitted")):
        await redacted(admin, await position_of(services, job["job_id"], kind))
        await assert_equal(database_uri)
    shown = (await user.get(f"/api/v1/jobs/{third['job_id']}")).json()
    assert (shown["last_error"], shown["name"], shown["exit_code"]) == ("[redacted]", CANARY, 1)
    for job in (other, third):
        await redacted(admin, await position_of(services, job["job_id"], "job.submitted"))
    assert await tables_with(connection, CANARY) == []


async def test_answers_of_batches_are_redacted_by_job(
    services: Services, user: Client, admin: Client, connection: Connection
) -> None:
    """The key is used up: the same request again would bring everything back."""
    body = {"jobs": [{"name": CANARY, "job_command": "a"}, {"name": "other", "job_command": "b"}]}
    headers = {"Idempotency-Key": "batch"}
    made = (await user.post("/api/v1/jobs/batch", json=body, headers=headers)).json()["jobs"]
    await work.run(services, made[0]["job_id"])
    await seal_all(connection)
    await redacted(admin, await position_of(services, made[0]["job_id"], "job.submitted"))
    kept = json.loads(await connection.fetchval("SELECT body FROM idempotency_keys"))["jobs"]
    assert (kept[0]["name"], kept[0]["job_command"]) == ("[redacted]", "[redacted]")
    assert kept[1] == made[1]
    again = await user.post("/api/v1/jobs/batch", json=body, headers=headers)
    problem(again, 422, "invalid_input")


async def test_an_account_is_redacted_when_it_is_deactivated(
    services: Services, admin: Client, connection: Connection, database_uri: str
) -> None:
    """Two of them, since names and addresses are unique; a token's name at any time."""
    for name in (f"{CANARY}-1", f"{CANARY}-2"):
        asked = {"username": name, "email": f"{name}@example.org"}
        user_id = (await admin.post("/api/v1/users", json=asked)).json()["user_id"]
        token = {"name": CANARY, "user_id": user_id}
        token_id = (await admin.post("/api/v1/tokens", json=token)).json()["token_id"]
        await seal_all(connection)
        await redacted(admin, await position_of(services, token_id, "token.issued"))
        position = await position_of(services, user_id, "user.registered")
        refused = await redacted(admin, position, 409)
        assert refused["current_status"] == "active"
        await admin.post(f"/api/v1/users/{user_id}/deactivate")
        await redacted(admin, position)
        shown = (await admin.get(f"/api/v1/users/{user_id}")).json()
        assert shown["username"] == f"[redacted] {user_id}"
    assert await tables_with(connection, CANARY) == []
    await assert_equal(database_uri)


async def test_what_can_not_be_redacted_is_left_alone(
    services: Services, user: Client, admin: Client, connection: Connection
) -> None:
    """Not sealed, not ended, redacted already, not there: a conflict with the reason, or 404."""
    job = await an_ended_job(services, user)
    position = await position_of(services, job["job_id"], "job.submitted")
    count = "SELECT count(*) FROM events WHERE type = 'event.redacted'"
    assert (await redacted(admin, position, 409))["current_status"] == "not_sealed"
    waiting = (await user.post("/api/v1/jobs", json={"name": "w", "job_command": "true"})).json()
    await seal_all(connection)
    of_waiting = await position_of(services, waiting["job_id"], "job.submitted")
    assert (await redacted(admin, of_waiting, 409))["current_status"] == "queued"
    assert await connection.fetchval(count) == 0
    await redacted(admin, position)
    assert (await redacted(admin, position, 409))["current_status"] == "redacted"
    for unknown in ("0", "999999", "9" * 30, "-1", "x", "1.0", "٣"):
        answer = await admin.post(f"/api/v1/audit/events/{unknown}/redact", json=REASON)
        problem(answer, 404, "not_found")
    for reason in ({}, {"reason": ""}, {"reason": "x" * 1001}, {"reason": 1}, REASON | {"a": 1}):
        answer = await admin.post(f"/api/v1/audit/events/{position}/redact", json=reason)
        problem(answer, 422, "invalid_input")
    assert await connection.fetchval(count) == 1
    retried = await user.post(f"/api/v1/jobs/{job['job_id']}/retry")
    assert problem(retried, 409, "conflict")["current_status"] == "completed"


async def test_only_an_admin_redacts(
    services: Services, user: Client, auditor: Client, operator: Client
) -> None:
    """And only with the scope: who reads the trail need not be able to erase it."""
    job = await an_ended_job(services, user)
    position = await position_of(services, job["job_id"], "job.submitted")
    path = f"/api/v1/audit/events/{position}/redact"
    for client in (user, auditor, operator):
        problem(await client.post(path, json=REASON), 403, "forbidden")
    token, _ = await token_for(services, "ada", "admin", scopes=("audit:read",))
    async with client_of(services, token) as reader:
        problem(await reader.post(path, json=REASON), 403, "forbidden")


async def test_of_many_at_once_one_redacts(
    services: Services, user: Client, admin: Client, connection: Connection
) -> None:
    """The others are told that it is done; a deletion at the same time brings nothing back."""
    job = await an_ended_job(services, user, **TELLING)
    await seal_all(connection)
    position = await position_of(services, job["job_id"], "job.submitted")
    path = f"/api/v1/audit/events/{position}/redact"
    answers = await asyncio.gather(
        *(admin.post(path, json=REASON) for _ in range(4)),
        user.delete(f"/api/v1/jobs/{job['job_id']}"),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 204, 409, 409, 409]
    assert await tables_with(connection, CANARY) == []


@pytest.mark.parametrize("text", ["", CANARY])
async def test_a_word_that_is_there_would_be_found(connection: Connection, text: str) -> None:
    """The search for it finds what is there, and nothing else."""
    await connection.execute(
        "INSERT INTO idempotency_keys VALUES ($1, 'k', '/', '', 200, NULL, $2)", new_id(), text
    )
    assert await tables_with(connection, CANARY) == (["public.idempotency_keys"] if text else [])
