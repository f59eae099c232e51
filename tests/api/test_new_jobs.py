"""What is made at less cost for many jobs is what the careful way makes of each."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from reactorcide.api.jobs.requests import JobRequest
from reactorcide.api.jobs.submission import new_units
from reactorcide.eventstore.codec import Encoded, decode, encode
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JOB, SubmitJob
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.record import Context

USER = uuid4()
CONTEXT = Context(actor_type="user", actor_id=USER)
ASKED: list[dict[str, Any]] = [
    {"name": "a", "job_command": "true"},
    {"name": "b", "handler": "b", "args": {"n": [1, None, 0.5]}, "labels": {"k": "v"}},
    {"name": "c", "handler": "c", "retry_backoff_seconds": 7, "priority": 3},
    {"name": "d", "handler": "d", "run_at": "2099-01-02T03:04:05Z", "unique_key": "k"},
    {"name": "e", "handler": "e", "run_at": "1999-01-02T03:04:05+02:00"},
    {"name": "f", "handler": "f", "depends_on": [str(uuid4()), str(uuid4())]},
    {
        "name": "g",
        "job_command": "make",
        "source_type": "git",
        "git_url": "https://example.org/a",
        "code_dir": "/job/code",
        "job_env_vars": {"A": "plain", "B": "hidden"},
        "secret_env_vars": ["B"],
    },
]


def submitted(fields: dict[str, Any]) -> JobSubmitted:
    """Return the first fact of a job asked for."""
    return JobRequest.model_validate(fields).submitted(USER, lambda plain, name: f"{name}-{plain}")


@pytest.mark.parametrize("fields", ASKED)
def test_a_fact_that_is_not_validated_twice_is_the_same(fields: dict[str, Any]) -> None:
    """As the class would have made it, and as it is read back from the log."""
    fact = submitted(fields)
    assert fact == JobSubmitted.model_validate(fact.__dict__)
    written = encode(USER, fact)
    assert decode(Encoded(1, written.type, written.schema_version, written.data)) == fact
    assert fact.model_copy(update={"retry_of": USER}).retry_of == USER


@pytest.mark.parametrize("waits", [False, True])
def test_jobs_made_together_are_those_that_the_rules_make(*, waits: bool) -> None:
    """One by one: the same events, the same states; only the ids are new, and ascend."""
    facts = [submitted(fields) for fields in ASKED]
    units = new_units(facts, [waits] * len(facts), CONTEXT)
    ids = [append.stream_id for append, _ in units]
    assert ids == sorted(ids)
    for fact, (append, change) in zip(facts, units, strict=True):
        command = SubmitJob(fact, datetime.now(UTC), waits)
        unit = decided(JOB, JOB.initial, 0, append.stream_id, command, CONTEXT)
        assert unit is not None
        nobody = UUID(int=0)
        for other in (append, unit[0]):
            assert len({event.event_id for event in other.events}) == len(other.events)
        alike = [
            other._replace(events=tuple(event._replace(event_id=nobody) for event in other.events))
            for other in (append, unit[0])
        ]
        assert alike[0] == alike[1]
        assert change == unit[1]
