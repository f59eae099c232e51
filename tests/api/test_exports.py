"""The audit trail as a file: whole, in parts, told of, and for those who may."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from reactorcide.api.exports.export import TO_POSITION
from reactorcide.api.exports.formats import FORMATS, FormatName
from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api.conftest import JOB, Client, client_of, token_for
from reactorcide.tests.api.exporting import MANIFEST, NAMES, PATH, exported, some_history
from reactorcide.tests.api.test_audit import found, submitted
from reactorcide.tests.api.test_errors import problem


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """An API that signs."""
    return replace(settings, log_key=bytes(range(32)))


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
