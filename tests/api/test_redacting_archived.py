"""What an archived event tells is erased as well: from its object, with the proof kept."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore, StoreUnavailable
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import archives, sealed_log, unfinished_objects
from reactorcide.projections.archive_check import Checked, check
from reactorcide.projections.archiving import Archived, archive
from reactorcide.projections.log_walk import verify_log
from reactorcide.projections.object_upkeep import sweep
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.conftest import Connection
from reactorcide.tests.support.sealing import KEY, seal_all, until_followed

AUDIT: Final = "/api/v1/audit/events"
CANARY: Final = "kanarienvogel"
REASON: Final = {"reason": "a customer asked for it"}


@pytest.fixture
def settings(settings: ApiSettings, store_url: str) -> ApiSettings:
    """With a store that others see."""
    return replace(settings, object_store_url=store_url)


def _nothing(_done: int, _total: int) -> None:
    pass


async def _archived(services: Services, connection: Connection, database: Database) -> Archived:
    await seal_all(connection)
    await until_followed(connection)
    later = datetime.now(UTC) + timedelta(hours=1)
    return await archive(database, services.objects, later, _nothing)


async def _ended(client: Client, name: str) -> str:
    """Submit a job and cancel it; return its id."""
    job_id: str = (await client.post("/api/v1/jobs", json={**JOB, "name": name})).json()["job_id"]
    await client.post(f"/api/v1/jobs/{job_id}/cancel")
    return job_id


async def _content(services: Services) -> tuple[str, list[dict[str, Any]]]:
    """Return the key and the lines of the one object that there is."""
    (key,) = await services.objects.keys("archive")
    lines = gzip.decompress(await services.objects.read(key)).splitlines()
    return key, [json.loads(line) for line in lines]


async def _assert_proved(services: Services, connection: Connection, database: Database) -> None:
    """Fail unless the log, with the archive, verifies."""
    await seal_all(connection)
    trust = Trust((Signer(await sealed_log.origin(connection), KEY).verifier,))
    assert (await verify_log(database, trust, _nothing, services.objects)).finding is None


async def test_what_an_archived_event_tells_is_erased(  # noqa: PLR0913, PLR0917  whom it concerns
    services: Services,
    user: Client,
    admin: Client,
    auditor: Client,
    connection: Connection,
    database: Database,
) -> None:
    """Another object has its place, the old one is gone, and both verifications find all right."""
    jobs = [await _ended(user, name) for name in ("first", CANARY, "last")]
    done = await _archived(services, connection, database)
    key, before = await _content(services)
    path = f"/api/v1/jobs/{jobs[1]}"
    (told, *_) = (await user.get(f"{path}/events")).json()["events"]
    answer = await admin.post(f"{AUDIT}/{told['position']}/redact", json=REASON)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["name"] == "[redacted]"

    new_key, after = await _content(services)
    assert new_key != key
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    ((old, new),) = changed
    assert (old["data"]["name"], new["data"]["name"]) == (CANARY, "[redacted]")
    assert new == old | {"data": new["data"], "salt": "00" * 16}
    assert CANARY not in json.dumps(after)
    assert (await user.get(path)).json()["name"] == "[redacted]"
    for job_id, name in ((jobs[0], "first"), (jobs[2], "last")):
        assert (await user.get(f"/api/v1/jobs/{job_id}")).json()["name"] == name
    assert await unfinished_objects.left(connection, -3600, 9) == []
    assert await check(database, services.objects, _nothing) == Checked(1, done.events)
    await _assert_proved(services, connection, database)

    admin_id = (await admin.get("/api/v1/me")).json()["user"]["user_id"]
    query = {"actor": admin_id, "type": "event.redacted"}
    (fact,) = (await auditor.get(AUDIT, params=query)).json()["events"]
    assert fact["data"]["object_key"] == new_key
    again = await admin.post(f"{AUDIT}/{told['position']}/redact", json=REASON)
    assert problem(again, 409, "conflict")["current_status"] == "redacted"
    second = (await user.get(f"{path}/events")).json()["events"][-1]["position"]
    assert (await admin.post(f"{AUDIT}/{second}/redact", json=REASON)).status_code == 200
    assert await check(database, services.objects, _nothing) == Checked(1, done.events)
    await _assert_proved(services, connection, database)


async def test_what_can_not_be_erased_now_is_told(
    services: Services,
    user: Client,
    admin: Client,
    connection: Connection,
    database: Database,
) -> None:
    """While somebody reads the whole archive, of an object that was changed; nothing changes."""
    job_id = await _ended(user, CANARY)
    await _archived(services, connection, database)
    (told, *_) = (await user.get(f"/api/v1/jobs/{job_id}/events")).json()["events"]
    redact = f"{AUDIT}/{told['position']}/redact"
    key, before = await _content(services)
    await archives.hold(connection)
    problem(await admin.post(redact, json=REASON), 503, "unavailable")
    await connection.execute("SELECT pg_advisory_unlock_all()")
    await connection.execute("UPDATE archived_objects SET sha256 = $1", bytes(32))
    problem(await admin.post(redact, json=REASON), 503, "unavailable")
    assert await _content(services) == (key, before)
    count = "SELECT count(*) FROM events WHERE type = 'event.redacted'"
    assert await connection.fetchval(count) == 0
    problem(await user.post(redact, json=REASON), 403, "forbidden")


class Stuck(ObjectStore):
    """A store that takes what it is given, and gives nothing up."""

    async def delete_all(self, prefix: str) -> None:
        """Refuse."""
        raise StoreUnavailable(prefix)


async def test_the_old_object_goes_by_itself_when_it_could_not_be_deleted(
    services: Services, user: Client, connection: Connection, database: Database
) -> None:
    """The event is erased all the same; what is pointed at stays."""
    job_id = await _ended(user, CANARY)
    done = await _archived(services, connection, database)
    (told, *_) = (await user.get(f"/api/v1/jobs/{job_id}/events")).json()["events"]
    (old_key,) = await services.objects.keys("archive")
    token, _ = await token_for(services, "root", "admin")
    stuck = replace(services, objects=Stuck(services.objects.url))
    async with client_of(stuck, token) as admin:
        answer = await admin.post(f"{AUDIT}/{told['position']}/redact", json=REASON)
    assert answer.json()["data"]["name"] == "[redacted]"
    assert [one.prefix for one in await unfinished_objects.left(connection, -3600, 9)] == [old_key]
    assert len(await services.objects.keys("archive")) == 2
    await sweep(connection, services.objects, -3600)
    (key,) = await services.objects.keys("archive")
    assert key != old_key
    assert await check(database, services.objects, _nothing) == Checked(1, done.events)
