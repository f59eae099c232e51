"""The formats of an export: what each says of an event, and what others take it for."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.api.exports.formats import CSV_COLUMNS, FORMATS, FormatName, NoRecord
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections.audit_exports import Audited

LOG: Final = "reactorcide/018f0000-0000-7000-8000-00000000000a"
JOB: Final = UUID("018f0000-0000-7000-8000-000000000001")
USER: Final = UUID("018f0000-0000-7000-8000-000000000002")
TOKEN: Final = UUID("018f0000-0000-7000-8000-000000000003")
EVENT: Final = UUID("018f0000-0000-7000-8000-000000000004")
AT: Final = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def audited(outcome: str = "success", **fields: Any) -> Audited:
    """Return a cancelled job, by a user; `fields` say what else it is."""
    event = RecordedEvent(
        position=3_000_000_000,
        event_id=EVENT,
        stream_type="job",
        stream_id=JOB,
        version=3,
        type="job.cancelled",
        schema_version=1,
        data='{"attempt": 1, "exit_code": null, "reason": "no, \\"really\\""}',
        actor_type="user",
        actor_id=USER,
        token_id=TOKEN,
        ip="203.0.113.7",
        user_agent="curl/8",
        request_id="r-1",
        correlation_id=EVENT,
        causation_id=None,
        recorded_at=AT,
    )
    return Audited(event._replace(**fields), outcome)


def written(name: FormatName, one: Audited) -> Any:
    """Return the record of an event, read back."""
    record = FORMATS[name].record(one, LOG)
    assert record.endswith(b"\n")
    assert FORMATS[name].position(record) == one.event.position
    if name == "csv":
        text = (FORMATS[name].head + record).decode()
        (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return row
    assert record.count(b"\n") == 1
    return json.loads(record)


def test_ndjson_says_what_the_api_says() -> None:
    """With the outcome, which there is a filter for."""
    assert written("ndjson", audited()) == {
        "position": 3_000_000_000,
        "event_id": str(EVENT),
        "stream_id": str(JOB),
        "stream_type": "job",
        "version": 3,
        "type": "job.cancelled",
        "data": {"attempt": 1, "exit_code": None, "reason": 'no, "really"'},
        "actor": {"type": "user", "id": str(USER), "token_id": str(TOKEN)},
        "request_id": "r-1",
        "correlation_id": str(EVENT),
        "causation_id": None,
        "ip": "203.0.113.7",
        "user_agent": "curl/8",
        "recorded_at": "2026-01-31T12:00:00.123456Z",
        "outcome": "success",
    }


def test_csv_has_a_cell_for_each_field() -> None:
    """RFC 4180: a head, CRLF, quotes doubled; nothing where there is nothing."""
    row = written("csv", audited())
    assert tuple(row) == CSV_COLUMNS
    assert json.loads(row["data"]) == written("ndjson", audited())["data"]
    assert (row["actor_type"], row["actor_id"], row["token_id"]) == ("user", str(USER), str(TOKEN))
    assert (row["causation_id"], row["recorded_at"]) == ("", "2026-01-31T12:00:00.123456Z")
    record = FORMATS["csv"].record(audited(), LOG)
    assert record.endswith(b"\r\n")
    assert b'"{""attempt"":1,' in record


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_csv_is_a_formula(start: str) -> None:
    """What a stranger may choose, such as a user agent, gets a quote before it."""
    agent = f'{start}HYPERLINK("http://evil","x")'
    row = written("csv", audited(user_agent=agent, request_id=f"{start}1"))
    assert (row["user_agent"], row["request_id"]) == (f"'{agent}", f"'{start}1")


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_csv_is_read_back_whatever_a_cell_holds(agent: str) -> None:
    """Quotes, commas and line breaks included."""
    read = written("csv", audited(user_agent=agent))["user_agent"]
    assert read.removeprefix("'") == agent.removeprefix("'")
    assert read[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}


REQUIRED: Final = {
    "activity_id": int,
    "category_uid": int,
    "class_uid": int,
    "type_uid": int,
    "severity_id": int,
    "time": int,
    "metadata": dict,
    "actor": dict,
    "api": dict,
    "src_endpoint": dict,
}
"""Of class API Activity in OCSF 1.3.0."""


@pytest.mark.parametrize(
    "one",
    [
        audited(),
        audited("denied", type="access.denied", actor_type="anonymous", actor_id=None, version=1),
        audited("refused", type="access.refused", version=1),
        audited(actor_type="system", actor_id=None, ip=None, user_agent=None, request_id=None),
        audited(actor_type="worker", ip=None),
        audited(type="job.submitted", version=1, data='{"sealed_env_vars": {"A": "x"}}'),
        audited(type="token.revoked", stream_type="token"),
    ],
    ids=lambda one: one.event.type + " by " + one.event.actor_type,
)
def test_ocsf_has_all_that_its_class_requires(one: Audited) -> None:
    """And at least one of those attributes of which an object must have one."""
    found = written("ocsf", one)
    for name, kind in REQUIRED.items():
        assert type(found[name]) is kind, name
    assert (found["class_uid"], found["category_uid"]) == (6003, 6)
    assert found["type_uid"] == 600_300 + found["activity_id"]
    assert found["time"] == 1_769_860_800_123
    metadata, actor = found["metadata"], found["actor"]
    assert (metadata["version"], metadata["product"]["vendor_name"]) == ("1.3.0", "reactorcide")
    assert metadata["sequence"] == one.event.position
    assert found["api"]["operation"] == one.event.type
    assert {"user", "app_name"} & actor.keys()
    if "user" in actor:
        assert {"uid", "name"} & actor["user"].keys()
        assert type(actor["user"]["type_id"]) is int
    assert {"ip", "svc_name"} & found["src_endpoint"].keys()
    assert all({"uid", "name"} & resource.keys() for resource in found["resources"])
    assert "x" not in json.dumps(found["unmapped"].get("data", {}).get("sealed_env_vars", ""))


@pytest.mark.parametrize(
    ("one", "activity", "status", "severity"),
    [
        (audited(type="job.submitted", version=1), (1, "Create"), 1, 1),
        (audited(), (3, "Update"), 1, 1),
        (audited(type="job.deleted"), (4, "Delete"), 1, 1),
        (audited(type="token.revoked"), (4, "Delete"), 1, 1),
        (audited(type="access.log_read", version=1), (2, "Read"), 1, 1),
        (audited("denied", type="access.denied", version=1), (99, "denied"), 2, 3),
        (audited("refused", type="access.refused", version=1), (99, "refused"), 2, 2),
    ],
)
def test_ocsf_tells_what_was_done_and_what_came_of_it(
    one: Audited, activity: tuple[int, str], status: int, severity: int
) -> None:
    """By the type of the event, and its outcome."""
    found = written("ocsf", one)
    assert (found["activity_id"], found["activity_name"]) == activity
    assert (found["status_id"], found["severity_id"]) == (status, severity)


def test_a_cloud_event_is_one() -> None:
    """Version 1.0, structured: the required attributes, names of small letters, data as JSON."""
    found = written("cloudevents", audited())
    assert {name: found[name] for name in ("specversion", "id", "source", "type")} == {
        "specversion": "1.0",
        "id": str(EVENT),
        "source": f"/{LOG}",
        "type": "job.cancelled",
    }
    assert (found["subject"], found["time"]) == (f"job/{JOB}", "2026-01-31T12:00:00.123456Z")
    assert (found["datacontenttype"], found["data"]["attempt"]) == ("application/json", 1)
    assert found["sequence"] == "00000000003000000000"
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in found)
    assert all(type(value) in {str, int} for name, value in found.items() if name != "data")
    assert "causationid" not in found  # a null is no value of an attribute
    nobody = audited(actor_type="system", actor_id=None, token_id=None, ip=None, user_agent="")
    assert (
        not {"actorid", "tokenid", "clientip", "useragent"} & written("cloudevents", nobody).keys()
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "record", [b"", b"{}\n", b"[1]\n", b'{"metadata": 1}\n', b"x,1\r\n", b'{"']
)
def test_what_is_no_record_has_no_position(name: FormatName, record: bytes) -> None:
    """A file that is gone on with is asked for its last one."""
    with pytest.raises(NoRecord):
        FORMATS[name].position(record)
