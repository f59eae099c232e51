"""Old facts stay readable: every wire type has its golden files, and they never change.

`golden/<type>.v<n>.json` is the data of an event with every field given;
`<type>.v<n>.minimal.json` has only what is required, and what the rest then means. A shape that
came later has a file of its own, `<type>.v<n>.<shape>.json`, and the older ones stay as they are.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from reactorcide.eventstore.codec import (
    EVENT_TYPES,
    UPCASTERS,
    UnknownEvent,
    UnreadableEvent,
    decode,
    encode,
    whole,
)
from reactorcide.eventstore.domain.events import (
    AnyEvent,
    JobCompleted,
    JobQueued,
    JobReleased,
    JobSubmitted,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append, RecordedEvent
from reactorcide.eventstore.store import append, read_stream
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.job_strategies import job_histories, json_values
from reactorcide.tests.eventstore.domain.samples import OWNER
from reactorcide.tests.eventstore.domain.strategies import (
    History,
    projection_histories,
    token_histories,
    user_histories,
    worker_histories,
)
from reactorcide.tests.eventstore.recorded import a_recorded

GOLDEN: Final = Path(__file__).parent / "golden"
FULL: Final = sorted(p for p in GOLDEN.glob("*.json") if not p.stem.endswith(".minimal"))
MINIMAL: Final = sorted(GOLDEN.glob("*.minimal.json"))


def the_golden(path: Path) -> tuple[RecordedEvent, Any]:
    """Return a golden file's event as the log would hold it, and the file's content."""
    wire_type, _, rest = path.name.rpartition(".v")
    version = rest.partition(".")[0]
    content = json.loads(path.read_text("utf-8"))
    data = content["data"] if path in MINIMAL else content
    return a_recorded(wire_type, int(version), json.dumps(data)), content


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_every_event_has_golden_files_of_every_version(event_type: type[AnyEvent]) -> None:
    """The present version is given field by field; so is every one before it."""
    for version in range(1, event_type.schema_version + 1):
        assert GOLDEN / f"{event_type.wire_type}.v{version}.json" in FULL
    shapes = GOLDEN.glob(f"{event_type.wire_type}.v{event_type.schema_version}.*json")
    named = {name for path in shapes if path in FULL for name in the_golden(path)[1]}
    assert named == set(event_type.model_fields)
    if any(not field.is_required() for field in event_type.model_fields.values()):
        assert (
            GOLDEN / f"{event_type.wire_type}.v{event_type.schema_version}.minimal.json" in MINIMAL
        )


def test_every_golden_file_is_somebodys() -> None:
    """No event class goes away: what is in a log must stay readable."""
    assert {the_golden(path)[0].type for path in (*FULL, *MINIMAL)} == set(EVENT_TYPES)


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_a_golden_event_is_read_and_written_as_it_was(path: Path) -> None:
    """Decoded and encoded again it is the same event, and what is shown of it is the same.

    Of the data, what is at its default is left out; nothing else is, and nothing is changed.
    """
    recorded, content = the_golden(path)
    event = decode(recorded)
    new = encode(new_id(), event)
    again = a_recorded(new.type, new.schema_version, new.data)
    assert new.type == recorded.type
    assert decode(again) == event
    if event.schema_version == recorded.schema_version:
        data = json.loads(new.data)
        assert data.items() <= content.items()
        for name in content.keys() - data.keys():
            assert getattr(event, name) == type(event).model_fields[name].get_default()
        assert whole(again) == whole(recorded)


@pytest.mark.parametrize("path", MINIMAL, ids=lambda path: path.stem)
def test_what_was_left_out_means_what_it_always_meant(path: Path) -> None:
    """A default is part of the history of every event that was written without the field."""
    recorded, content = the_golden(path)
    event = decode(recorded)
    means = json.loads(event.model_dump_json())
    assert {name: means[name] for name in content["means"]} == content["means"]
    if event.schema_version == recorded.schema_version:
        for name in means.keys() - content["means"].keys():  # fields that came later
            assert getattr(event, name) is None


def test_an_event_is_shown_with_what_was_left_out() -> None:
    """Defaults are put back beside what was recorded; what nobody knows stays as it stands."""
    assert whole(a_recorded("job.completed", 1, '{"attempt": 2}')) == {"attempt": 2, "exit_code": 0}
    none = {"attempt": 2, "exit_code": None}
    assert whole(a_recorded("job.completed", 1, json.dumps(none))) == none
    for wire_type, version in (("job.completed", 9), ("job.teleported", 1)):
        assert whole(a_recorded(wire_type, version, '{"attempt": 2}')) == {"attempt": 2}


def test_events_that_are_equal_are_not_taken_for_each_other() -> None:
    """What was encoded before is known by identity, however many came between."""
    kept = JobCompleted(attempt=1)
    first = encode(new_id(), kept)
    for attempt in range(2, 3000):
        assert (
            json.loads(encode(new_id(), JobCompleted(attempt=attempt)).data)["attempt"] == attempt
        )
    assert encode(new_id(), kept)[1:] == first[1:]


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_leaving_out_none_loses_nothing(event_type: type[AnyEvent]) -> None:
    """Where None can be given it is also what leaving the field out means."""
    for name, field in event_type.model_fields.items():
        if type(None) in getattr(field.annotation, "__args__", ()) and field.default is not None:
            assert (event_type, name) == (JobCompleted, "exit_code")


def test_no_exit_code_is_not_exit_code_0() -> None:
    """The one field whose default is not None says so in the JSON."""
    completed = JobCompleted(attempt=1, exit_code=None)
    assert '"exit_code":null' in encode(new_id(), completed).data


async def test_every_golden_event_goes_through_the_log(connection: Connection) -> None:
    """PostgreSQL's jsonb gives back what the codec wrote."""
    events = [decode(the_golden(path)[0]) for path in FULL]
    stream_id = new_id()
    one = Append("job", stream_id, 0, tuple(encode(new_id(), e) for e in events), SYSTEM)
    await append(connection, [one])
    assert [decode(recorded) for recorded in await read_stream(connection, stream_id)] == events


def test_an_unknown_type_is_named_with_its_position() -> None:
    """A newer program's fact is not skipped over."""
    with pytest.raises(UnknownEvent, match=r"job\.teleported v1 at position 42") as raised:
        decode(a_recorded("job.teleported", 1, "{}", position=42))
    assert (raised.value.position, raised.value.type) == (42, "job.teleported")


def test_a_newer_version_is_not_guessed_at() -> None:
    """What a field means then is not known now."""
    with pytest.raises(UnreadableEvent, match=r"job\.queued v9 at position 42: .* up to version 1"):
        decode(a_recorded("job.queued", 9, "{}", position=42))


@pytest.mark.parametrize("data", ['{"attempt": "x", "reason": "y"}', '{"attempt": 1}', "[]"])
def test_data_that_the_class_refuses_is_unreadable(data: str) -> None:
    """The error names the event and the field, and not the value."""
    with pytest.raises(
        UnreadableEvent, match=r"job\.released v1 at position 7: (attempt|reason|data)"
    ):
        decode(a_recorded("job.released", 1, data, position=7))


def test_an_unknown_field_is_unreadable() -> None:
    """A field nobody knows may change what the others mean."""
    with pytest.raises(UnreadableEvent, match="more"):
        decode(a_recorded("job.queued", 1, '{"more": 1}'))


class Renamed(JobReleased):
    """As if `reason` had been called `why` in version 1 and `because` in version 2."""

    schema_version = 3


def test_an_old_version_is_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two planted upcasters, each from one version to the next."""
    monkeypatch.setattr(
        "reactorcide.eventstore.codec.EVENT_TYPES", {**EVENT_TYPES, "job.released": Renamed}
    )
    upcasters = {
        ("job.released", 1): lambda data: {"attempt": data["attempt"], "because": data["why"]},
        ("job.released", 2): lambda data: {"attempt": data["attempt"], "reason": data["because"]},
    }
    expected = Renamed(attempt=1, reason="tired")
    first = a_recorded("job.released", 1, '{"attempt": 1, "why": "tired"}')
    second = a_recorded("job.released", 2, '{"attempt": 1, "because": "tired"}')
    assert decode(first, upcasters) == decode(second, upcasters) == expected
    with pytest.raises(UnreadableEvent, match="nothing leads from version 1"):
        decode(first, {})


def test_every_version_step_has_its_upcaster() -> None:
    """Whatever version a class has come to, version 1 leads there."""
    wanted = {
        (wire_type, version)
        for wire_type, event_type in EVENT_TYPES.items()
        for version in range(1, event_type.schema_version)
    }
    assert set(UPCASTERS) == wanted


@given(json_values)
def test_json_inside_of_an_event_stays_as_it_is(value: JsonValue) -> None:
    """Nulls at any depth included, though a field that is None is left out."""
    events = (
        JobSubmitted(user_id=OWNER, name="job", handler="mail.send", args=value),
        JobCompleted(attempt=1, result=value),
        JobCompleted(attempt=1, exit_code=None, result=value),
    )
    for event in events:
        kept = encode(new_id(), event)
        assert decode(a_recorded(kept.type, kept.schema_version, kept.data)) == event
        assert json.loads(kept.data).get("args" if "handler" in kept.data else "result") == value


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        job_histories(),
        token_histories(),
        user_histories(),
        worker_histories(),
        projection_histories(),
    )
)
def test_every_event_is_read_as_it_was_written(history: History[Any, Any, Any]) -> None:
    """What is left out is what is at its default, and what is shown of it is all but None."""
    for event in history.events:
        kept = encode(new_id(), event)
        recorded = a_recorded(kept.type, kept.schema_version, kept.data)
        assert decode(recorded) == event
        data, fields = json.loads(kept.data), type(event).model_fields
        for name, field in fields.items():
            is_default = not field.is_required() and getattr(event, name) == field.get_default()
            assert (name in data) is not is_default
        everything = json.loads(event.model_dump_json())
        shown = whole(recorded)
        assert shown.items() <= everything.items()
        assert {name for name in fields if name not in shown} <= {
            name for name, value in everything.items() if value is None
        }


def test_a_request_is_shown_in_full() -> None:
    """With every default that is not None, though hardly anything of it is recorded."""
    kept = encode(new_id(), JobSubmitted(user_id=OWNER, name="job", job_command="true"))
    assert json.loads(kept.data) == {"user_id": str(OWNER), "name": "job", "job_command": "true"}
    shown = whole(a_recorded(kept.type, kept.schema_version, kept.data))
    assert (shown["labels"], shown["priority"], shown["queue_name"]) == ({}, 0, "default")
    assert None not in shown.values()


def test_what_a_command_records_did_not_change() -> None:
    """The fields of handlers take no room in its events."""
    command = JobSubmitted(user_id=OWNER, name="job", job_command="true")
    assert not {"handler", "args"} & json.loads(encode(new_id(), command).data).keys()
    completed = encode(new_id(), JobCompleted(attempt=1)).data
    assert completed == '{"attempt":1}'


def test_an_event_without_fields_is_an_empty_object() -> None:
    """Its name says it all."""
    assert encode(new_id(), JobQueued())[1:] == ("job.queued", 1, "{}")
