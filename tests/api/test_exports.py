"""The audit trail as a file: whole, in parts, signed, of little memory, for those who may."""

import csv
import hashlib
import io
import json
import resource
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import httpx2
import pytest

from reactorcide.api.exports import export
from reactorcide.api.exports.export import TO_POSITION
from reactorcide.api.exports.formats import FORMATS, FormatName
from reactorcide.api.exports.manifest import Manifest
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore import store
from reactorcide.eventstore.signed_note import NoteBroken, Signer, Verifier
from reactorcide.projections import audit_events, audit_exports, sealed_log
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.test_audit import found, submitted
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until

PATH: Final = "/api/v1/audit/export"
MANIFEST: Final = f"{PATH}/manifest"
NAMES: Final = tuple(FORMATS)

# Events of 7 KB, and their rows in the trail, as they would stand after a while.
MANY: Final = """
INSERT INTO events (
    event_id, stream_type, stream_id, version, type, schema_version, data, actor_type
)
SELECT
    gen_random_uuid(), 'worker', gen_random_uuid(), 1, 'worker.stopped', 1,
    jsonb_build_object('reason', repeat(md5(n::text), 200)), 'system'
FROM generate_series(1, $1) AS n"""
EVENTS: Final = 5000
BROKEN_OFF: Final = """
SELECT data::text FROM events WHERE type = 'access.exported' AND data ->> 'is_whole' = 'false'"""
FOLLOWED: Final = "INSERT INTO checkpoints (name, position) VALUES ('audit_events', $1)"


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """An API that signs."""
    return replace(settings, log_key=bytes(range(32)))


async def exported(client: Client, name: FormatName, **query: Any) -> tuple[bytes, int]:
    """Return a file, and up to where it goes."""
    answer = await client.get(PATH, params={"format": name, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == FORMATS[name].media_type
    return answer.content, int(answer.headers[TO_POSITION])


async def some_history(services: Services, user: Client) -> None:
    """Let some things happen, by a user, a worker and the system."""
    first = await submitted(user, **{"User-Agent": "=cmd|'/C calc'!A0"})
    await work.run(services, first["job_id"])
    await submitted(user)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have few events, or few bytes."""
    monkeypatch.setattr(audit_exports, "EVENTS_EACH", 3)
    monkeypatch.setattr(audit_exports, "BYTES_EACH", 400)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("name", NAMES)
async def test_a_file_has_everything_once_oldest_first(
    services: Services, user: Client, auditor: Client, name: FormatName
) -> None:
    """What was committed just now is in it; the header tells where it ends."""
    await some_history(services, user)
    content, to = await exported(auditor, name)
    everything = (await found(auditor, limit=200))[::-1]
    (own,) = [nth for nth, event in enumerate(everything) if event["type"] == "access.exported"]
    del everything[own]  # recorded when it was through
    assert to == everything[-1]["position"]
    if name == "csv":
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        positions = [int(row["position"]) for row in rows]
        assert any(row["user_agent"].startswith("'=") for row in rows)
    else:
        lines = content.splitlines(keepends=True)
        positions = [FORMATS[name].position(line) for line in lines]
        if name == "ndjson":
            assert [{**event, "outcome": "success"} for event in everything] == [
                json.loads(line) for line in lines
            ]
    assert positions == [event["position"] for event in everything]


@pytest.mark.usefixtures("small_pages")
async def test_each_filter_of_the_trail_holds_for_a_file(
    services: Services, user: Client, auditor: Client
) -> None:
    """The same events as in the list, whatever is asked for."""
    await some_history(services, user)
    await exported(auditor, "ndjson")  # waits for the trail for longer than a list does
    everything = await found(auditor, limit=200)
    newest, middle = everything[0], everything[len(everything) // 2]["recorded_at"]
    token = next(event["actor"]["token_id"] for event in everything if event["actor"]["token_id"])
    for query in (
        {"actor": newest["actor"]["id"]},
        {"actor": "system"},
        {"actor": token},
        {"type": "job.submitted"},
        {"stream_id": newest["stream_id"]},
        {"stream_type": "job"},
        {"ip": "127.0.0.1"},
        {"request_id": newest["request_id"]},
        {"outcome": "success"},
        {"outcome": "denied"},
        {"since": middle},
        {"until": middle},
        {"since": middle, "until": middle},
        {"since": "2999-01-01T00:00:00Z"},
    ):
        expected = [one["position"] for one in await found(auditor, limit=200, **query)][::-1]
        content, _ = await exported(auditor, "ndjson", **query)
        assert [json.loads(line)["position"] for line in content.splitlines()] == expected, query


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_broke_off_is_gone_on_with(
    services: Services, user: Client, auditor: Client, name: FormatName
) -> None:
    """Behind any of its records, up to the same end, whatever has happened since."""
    await some_history(services, user)
    whole, to = await exported(auditor, name)
    await some_history(services, user)
    records = whole.splitlines(keepends=True)[bool(FORMATS[name].head) :]
    for nth, record in enumerate(records):
        after = FORMATS[name].position(record)
        rest, end = await exported(auditor, name, after=after, to=to)
        assert (rest, end) == (b"".join(records[nth + 1 :]), to)
    assert (await exported(auditor, name, to=to))[0] == whole
    assert (await exported(auditor, name, to=0))[0] == FORMATS[name].head


async def test_who_exported_what_is_in_the_log(
    user: Client, auditor: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """By user, token and address; a question that was refused is no export."""
    await submitted(user)
    await auditor.get(PATH, params={"format": "csv", "to": "999999999"})
    await exported(auditor, "csv", type="job.submitted", after=1)
    me = (await auditor.get("/api/v1/me")).json()["user"]["user_id"]
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "audit_exported" in one]
    for said in (f"user_id={me}", "token_id=", "format=csv", "after=1", "'job.submitted'"):
        assert said in line


async def exports(client: Client, **query: Any) -> list[dict[str, Any]]:
    """Return what the trail says of exports, the newest first."""
    return await found(client, type="access.exported", **query)


async def test_an_export_is_an_event(user: Client, auditor: Client) -> None:
    """Who took what along, how much of it that was, and that it came to its end: at once."""
    job = await submitted(user)
    query = {"type": "job.submitted", "stream_id": job["job_id"]}
    headers = {"X-Request-ID": "taken-along"}
    answer = await auditor.get(PATH, params={"format": "csv", **query}, headers=headers)
    (event,) = await exports(auditor)
    me = (await auditor.get("/api/v1/me")).json()
    assert event["actor"] == {
        "type": "user",
        "id": me["user"]["user_id"],
        "token_id": me["token"]["token_id"],
    }
    assert (event["request_id"], event["ip"]) == ("taken-along", "127.0.0.1")
    data = event["data"]
    assert data["first_at"] <= data["last_at"]
    position = int(next(csv.DictReader(io.StringIO(answer.text)))["position"])
    assert {name: data[name] for name in data if not name.endswith("_at")} == {
        "count": 1,
        "operations": ["exportAuditEvents"],
        "format": "csv",
        "filters": query,
        "after": 0,
        "to": int(answer.headers[TO_POSITION]),
        "events": 1,
        "last_position": position,
        "is_whole": True,
    }
    assert await exports(auditor, request_id="taken-along", outcome="success") == [event]


async def test_a_part_and_a_refused_export(auditor: Client) -> None:
    """Each part is an event; what takes nothing along is none."""
    to = (await exported(auditor, "ndjson"))[1]
    assert await exported(auditor, "ndjson", after=to - 1, to=to)
    assert (await auditor.head(PATH, params={"format": "csv"})).status_code == 200
    assert (await auditor.get(PATH, params={"format": "csv", "to": 10**9})).status_code == 422
    parts = [event["data"] for event in await exports(auditor)]
    assert [(one["after"], one["to"], one["events"]) for one in parts] == [
        (to - 1, to, 1),
        (0, to, parts[1]["events"]),
    ]


async def test_an_export_that_the_client_breaks_off_is_an_event(
    many: int, settings: ApiSettings, connection: Connection
) -> None:
    """With what was handed out by then."""
    async with open_services(settings) as services, serving(services, 65_536) as url:
        token, _ = await token_for(services, "ada", "admin")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            query = {"format": "ndjson", "to": str(many)}
            async with client.stream("GET", PATH, params=query) as answer:
                await anext(answer.aiter_raw(4096))

            async def is_recorded() -> bool:
                return bool(await connection.fetchval(BROKEN_OFF))

            await until(is_recorded, 30)
    data = json.loads(await connection.fetchval(BROKEN_OFF))
    assert 0 < data["events"] < EVENTS
    assert data["to"] == many > data["last_position"]


@pytest.fixture
async def verifier(services: Services) -> Verifier:
    """The public half of the log's key."""
    key = services.settings.log_key
    assert key is not None
    return Signer(await sealed_log.origin(services.pool), key).verifier


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("name", NAMES)
async def test_the_manifest_speaks_for_the_file(
    services: Services, user: Client, auditor: Client, verifier: Verifier, name: FormatName
) -> None:
    """Also for one that was put together from parts; asked for at any later time."""
    await some_history(services, user)
    query: dict[str, Any] = {"type": "job.submitted", "since": "2020-01-01T00:00:00Z"}
    whole, to = await exported(auditor, name, **query)
    await submitted(user)
    answer = await auditor.get(MANIFEST, params={"format": name, "to": to, **query})
    assert answer.status_code == 200, answer.text
    said = Manifest.opened(answer.text, verifier)
    positions = [FORMATS[name].position(one) for one in whole.splitlines(keepends=True)[-2:]]
    assert (said.format, said.filters, said.after, said.to) == (name, query, None, to)
    assert (said.sha256, said.bytes) == (hashlib.sha256(whole).hexdigest(), len(whole))
    assert (said.count, [said.first_position, said.last_position]) == (2, positions)
    rest, _ = await exported(auditor, name, to=to, after=positions[0], **query)
    asked = {"format": name, "to": to, "after": positions[0], **query}
    part = Manifest.opened((await auditor.get(MANIFEST, params=asked)).text, verifier)
    assert (part.sha256, part.count) == (hashlib.sha256(rest).hexdigest(), 1)


async def test_a_manifest_of_nothing_is_one(auditor: Client, verifier: Verifier) -> None:
    """That nothing happened is worth a signature."""
    answer = await auditor.get(MANIFEST, params={"format": "ndjson", "to": "0"})
    said = Manifest.opened(answer.text, verifier)
    assert (said.count, said.first_position, said.bytes) == (0, None, 0)


async def test_a_manifest_that_was_changed_is_found_out(
    auditor: Client, verifier: Verifier
) -> None:
    """As is another key's, and a note of the same key that is none."""
    note = (await auditor.get(MANIFEST, params={"format": "csv", "to": "1"})).text
    with pytest.raises(NoteBroken):
        Manifest.opened(note.replace('"count":1', '"count":0'), verifier)
    other = Signer(verifier.name, bytes(32)).verifier
    with pytest.raises(NoteBroken):
        Manifest.opened(note, other)
    signer = Signer(verifier.name, bytes(range(32)))
    for text in (f"{verifier.name}\n3\nAAAA\n", f"{verifier.name}/export/v1\n{{}}\n"):
        with pytest.raises(NoteBroken):
            Manifest.opened(signer.sign(text), verifier)


@pytest.mark.parametrize("path", [PATH, MANIFEST])
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({}, "/format"),
        ({"format": "xml"}, "/format"),
        ({"format": "csv", "type": "job.complete"}, "/type"),
        ({"format": "csv", "actor": "me"}, "/actor"),
        ({"format": "csv", "since": "yesterday"}, "/since"),
        ({"format": "csv", "after": "-1"}, "/after"),
        ({"format": "csv", "after": "999999999", "to": "999999999"}, "/after"),
        ({"format": "csv", "to": "x"}, "/to"),
        ({"format": "csv", "to": "999999999"}, "/to"),
        ({"format": "csv", "after": "2", "to": "1"}, "/to"),
        ({"format": "csv", "limit": "1"}, "/limit"),
    ],
)
async def test_a_malformed_question_is_422(
    auditor: Client, path: str, query: dict[str, str], pointer: str
) -> None:
    """Before the first byte of a file."""
    refused = problem(await auditor.get(path, params=query), 422, "invalid_input")
    assert refused["errors"][0]["pointer"] == pointer


async def test_a_manifest_needs_an_end(auditor: Client) -> None:
    """Without one it would be of another file than the one at hand."""
    refused = problem(await auditor.get(MANIFEST, params={"format": "csv"}), 422, "invalid_input")
    assert (refused["errors"][0]["pointer"], refused["errors"][0]["code"]) == ("/to", "missing")


async def test_without_a_key_nothing_is_signed(settings: ApiSettings) -> None:
    """And nothing looks as if it were."""
    async with open_services(replace(settings, log_key=None)) as services:
        token, _ = await token_for(services, "audrey", "auditor")
        async with client_of(services, token) as auditor:
            answer = await auditor.get(MANIFEST, params={"format": "csv", "to": "0"})
            assert problem(answer, 503, "unavailable")


@pytest.mark.parametrize("path", [PATH, MANIFEST])
async def test_auditors_and_admins_may(services: Services, anonymous: Client, path: str) -> None:
    """Nobody else, nor a token without the scope."""
    query = {"format": "ndjson", "to": "0"}
    problem(await anonymous.get(path, params=query), 401, "unauthorized")
    for role, scopes, may in (
        ("user", None, False),
        ("operator", None, False),
        ("auditor", None, True),
        ("admin", None, True),
        ("auditor", ("audit:read",), True),
        ("auditor", ("jobs:read",), False),
    ):
        token, _ = await token_for(services, role, role, scopes=scopes)
        async with client_of(services, token) as client:
            answer = await client.get(path, params=query)
            if may:
                assert answer.status_code == 200
                assert (await client.head(path, params=query)).content == b""
            else:
                problem(answer, 403, "forbidden")


async def test_secret_values_are_in_no_file(user: Client, auditor: Client) -> None:
    """Not even sealed."""
    job = {**JOB, "job_env_vars": {"KEY": "hush-hush"}, "secret_env_vars": ["KEY"]}
    assert (await user.post("/api/v1/jobs", json=job)).status_code == 201
    for name in NAMES:
        content, _ = await exported(auditor, name, type="job.submitted")
        assert b"KEY" in content
        assert b"***" in content
        assert b"hush-hush" not in content
        assert b"v1." not in content


@pytest.fixture
async def many(connection: Connection) -> int:
    """A log of 5,000 events, followed by the trail; return the last position."""
    await connection.execute(MANY, EVENTS)
    last, _ = await store.present(connection)
    await audit_events.SUBSCRIPTION.write(connection, 0, last)
    await connection.execute(FOLLOWED, last)
    return last


async def counted(answer: AsyncIterator[bytes], then: Callable[[], Any] | None = None) -> int:
    """Return how many records come, and do something after the first."""
    records = 0
    async for piece in answer:
        records += piece.count(b"\n")
        if then is not None:
            await then()
            then = None
    return records


async def test_a_file_takes_little_memory(many: int, settings: ApiSettings) -> None:
    """35 MB go through a process that grows by a fraction of them."""
    unsealed = replace(settings, log_key=None)
    async with open_services(unsealed) as services, serving(services) as url:
        token, _ = await token_for(services, "audrey", "auditor")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            await exported(client, "ndjson", to=1)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            query = {"format": "ndjson", "to": str(many)}
            async with client.stream("GET", PATH, params=query) as answer:
                assert await counted(answer.aiter_bytes()) == EVENTS
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # kilobytes


async def test_a_file_ends_with_the_token(
    many: int, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks off, and so does not look like a whole one."""
    monkeypatch.setattr(export, "_RECHECK_SECONDS", 0)
    async with open_services(settings) as services, serving(services, 65_536) as url:
        token, _ = await token_for(services, "ada", "admin")
        headers = {"Authorization": f"Bearer {token}"}
        async with Client(base_url=url, headers=headers, timeout=60) as client:
            token_id = (await client.get("/api/v1/me")).json()["token"]["token_id"]

            async def revoke() -> None:
                async with Client(base_url=url, headers=headers, timeout=60) as other:
                    answer = await other.delete(f"/api/v1/tokens/{token_id}")
                    assert answer.status_code == 204, answer.text

            query = {"format": "ndjson", "to": str(many)}
            with pytest.raises(httpx2.RemoteProtocolError):
                async with client.stream("GET", PATH, params=query) as answer:
                    await counted(answer.aiter_raw(4096), revoke)
