"""What is looked at once for many requests is what would be seen in each."""

from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from reactorcide.api.jobs import asked
from reactorcide.api.jobs.asked import Refused
from reactorcide.api.jobs.forms import Forms
from reactorcide.api.jobs.requests import ARGS_BYTES, JobRequest
from reactorcide.eventstore.codec import Encoded, decode
from reactorcide.eventstore.domain.events import JobSubmitted

USER: Final = UUID(int=7)

values: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
fields: Final = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | st.text(max_size=4),
        "handler": st.sampled_from(["mail.send", "noop", "no good", None]),
        "job_command": st.sampled_from([None, None, "true"]),
        "args": values,
        "priority": st.sampled_from([0, 5, 5000, True, 1.0, 1, "1"]),
        "queue_name": st.sampled_from(["default", "mail", "No"]),
        "unique_key": st.sampled_from([None, None, "k"]),
        "labels": st.sampled_from([None, {"os": "linux"}]),
        "colour": st.sampled_from([None, "red"]),
    },
)


def no_seal(_value: str, _name: str) -> str:
    """Seal nothing: these requests have no secrets."""
    raise AssertionError


def carefully(requests: list[dict[str, Any]]) -> list[JobSubmitted] | None:
    """Look at each request; None when one is refused."""
    try:
        return [asked.one(one).submitted(USER, no_seal) for one in requests]
    except Refused:
        return None


@given(st.lists(fields, min_size=1, max_size=4), st.booleans())
def test_filling_a_form_is_looking_at_each(requests: list[dict[str, Any]], known: bool) -> None:  # noqa: FBT001  drawn
    """The same facts; what is refused, or concerns other jobs, is left to who says why."""
    forms = Forms(USER, no_seal)
    if known:
        forms.fill([{**one, "args": None} for one in requests])
        for one in requests:
            forms.fill([one])
    filled = forms.fill(requests)
    if filled is None:
        return
    assert [one.submitted for one in filled] == carefully(requests)
    for nth, (submitted, text) in enumerate(filled):
        kind, schema_version = JobSubmitted.wire_type, JobSubmitted.schema_version
        assert decode(Encoded(nth, kind, schema_version, text)) == submitted
        assert set(from_json(text)) <= set(JobSubmitted.model_fields)


def test_what_is_plain_is_filled() -> None:
    """A handler's job with args, and the same one with others, by one look."""
    forms = Forms(USER, no_seal)
    for args in ({"to": "ada"}, [1, 2], None, "text"):
        filled = forms.fill([{"handler": "mail.send", "priority": 3, "args": args, "name": None}])
        assert filled is not None
        assert (filled[0].submitted.name, filled[0].submitted.args) == ("mail.send", args)


@pytest.mark.parametrize(
    "request_",
    [
        {"handler": "a", "args": "x" * ARGS_BYTES},
        {"handler": "a", "args": "\0"},
        {"handler": "a", "args": 2**63},
        {"handler": "a", "args": {1: "one", "1": "also one"}},
        {"handler": "a", "args": object()},
        {"handler": "a", "args": None, "unique_key": "k"},
        {"handler": "a", "labels": {"os": "linux"}},
        {"handler": "a", "priority": True},
        {"job_command": "true", "args": {}},
        {"job_command": "true"},
        {"handler": "a b"},
        {"handler": "a", "colour": "red"},
        JobRequest(name="a", handler="a"),
    ],
)
def test_what_is_not_plain_is_looked_at_itself(request_: Any) -> None:
    """However often something like it was filled before."""
    forms = Forms(USER, no_seal)
    assert forms.fill([{"handler": "a"}, {"handler": "a", "priority": 1}]) is not None
    assert forms.fill([{"handler": "a"}, request_]) is None
