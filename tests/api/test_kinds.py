"""What is looked at once for the jobs of a batch is what would be seen in each."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from reactorcide.api.jobs.kinds import AlikeJobs, read_batch, read_job
from reactorcide.api.jobs.render import render
from reactorcide.api.jobs.requests import ARGS_BYTES, BatchRequest, JobRequest
from reactorcide.eventstore.codec import Encoded, decode
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import JobState, Status
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import job_rows
from reactorcide.projections.jobs import Job
from reactorcide.tests.api.conftest import Client

USER: Final = UUID(int=7)
NOW: Final = datetime(2026, 1, 2, tzinfo=UTC)


def texts(min_size: int = 0) -> st.SearchStrategy[str]:
    """Draw texts that would spoil one into which they were put as they are."""
    return st.text("aé%{}\"'", min_size=min_size, max_size=4)


values: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-1, 1)
    | st.text("aé%{}\"'", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)
jobs: Final = st.fixed_dictionaries(
    {"name": texts() | st.sampled_from([None, 5])},
    optional={
        "handler": st.sampled_from(["mail.send", "noop", "no good", None]),
        "job_command": st.sampled_from([None, "true", "", "echo \"ä\" '{}'"]),
        "args": values,
        "priority": st.sampled_from([0, 5, 5000, True, 1.0, 1, "1"]),
        "retry_backoff_seconds": st.sampled_from([1, 1.0, 0.5]),
        "labels": st.sampled_from([{}, {"os": "linux"}, {"os": "{linux}"}]),
        "job_env_vars": st.sampled_from([{}, {"A": "1"}]),
        "secret_env_vars": st.just(["A"]),
        "unique_key": st.sampled_from([None, "k"]),
        "colour": st.just("red"),
    },
)
right: Final = st.fixed_dictionaries(
    {"name": texts(1)},
    optional={"priority": st.integers(0, 2), "labels": st.sampled_from([{}, {"os": "{linux}"}])},
)
runs: Final = st.fixed_dictionaries({"job_command": st.text("a%{}", min_size=1)}) | (
    st.fixed_dictionaries({"handler": st.just("noop")}, optional={"args": values})
)
right_jobs: Final = st.builds(lambda job, run: {**job, **run}, right, runs)


def sealed(_value: str, _name: str) -> str:
    """Seal a value so that it differs from all others."""
    return str(new_id())


def each(content: dict[str, Any]) -> list[JobSubmitted] | None:
    """Look at each job; None when one is refused."""
    try:
        asked = BatchRequest.model_validate(content).jobs
    except ValidationError:
        return None
    return [one.submitted(USER, sealed) for one in asked]


def made(fact: JobSubmitted) -> Job:
    """Return a job as it stands when it has been submitted."""
    return Job(new_id(), 1, JobState(Status.QUEUED, fact), NOW, NOW)


def check_alike(alike: AlikeJobs, facts: list[JobSubmitted]) -> None:
    """Compare what is recorded and what is answered with what each job would be."""
    written, rows = alike.columns(USER)
    wire = JobSubmitted.wire_type, JobSubmitted.schema_version
    assert [decode(Encoded(0, *wire, text)) for text in written] == facts
    new = [made(fact) for fact in facts]
    assert rows == [job_rows.new_row(Change(one.job_id, 1, one.state, ())) for one in new]
    answer = to_json([render(job) for job in new])
    shown = alike.shown(USER, [job.job_id for job in new], NOW)
    assert [from_json(text) for text in shown] == from_json(answer)
    assert alike.each() == [JobRequest.model_validate(job) for job in alike.jobs]


@given(st.lists(jobs, min_size=1, max_size=5))
def test_a_batch_is_read_as_each_of_its_jobs(batch: list[dict[str, Any]]) -> None:
    """The same facts and answers; what is refused is refused in the same words."""
    content = {"jobs": batch}
    facts = each(content)
    if facts is None:
        with pytest.raises(ValidationError) as refused:
            read_batch(content)
        with pytest.raises(ValidationError) as wanted:
            BatchRequest.model_validate(content)
        assert refused.value.errors(include_url=False) == wanted.value.errors(include_url=False)
        return
    found = read_batch(content)
    if isinstance(found, AlikeJobs):
        check_alike(found, facts)
    else:
        assert any({"secret_env_vars", "unique_key"} & job.keys() for job in batch)


@given(jobs)
def test_a_job_is_read_as_if_there_were_no_others(job: dict[str, Any]) -> None:
    """Whatever was read before: the same fact and answer, or the same words of refusal."""
    facts = each({"jobs": [job]})
    if facts is None:
        with pytest.raises(ValidationError) as refused:
            read_job(job)
        with pytest.raises(ValidationError) as wanted:
            JobRequest.model_validate(job)
        assert refused.value.errors(include_url=False) == wanted.value.errors(include_url=False)
    elif isinstance(found := read_job(job), AlikeJobs):
        check_alike(found, facts)


@given(st.lists(right_jobs, min_size=1, max_size=16), st.integers(1, 3))
def test_plain_jobs_are_looked_at_together(some: list[dict[str, Any]], times: int) -> None:
    """Whatever their names, commands and args; and they become what each of them would."""
    content = {"jobs": some * times}
    found, facts = read_batch(content), each(content)
    assert isinstance(found, AlikeJobs)
    assert facts is not None
    check_alike(found, facts)


@pytest.mark.parametrize(
    "jobs",
    [
        [],
        [{"name": "a", "job_command": "true"}] * 1001,
        "jobs",
        [{"name": "a", "job_command": "true"}, 5],
        [
            {"name": "a", "handler": "a", "args": "x"},
            {"name": "a", "handler": "a", "args": "é" * (ARGS_BYTES // 2)},
        ],
        [{"name": "a", "job_command": "true"}, {"name": "a", "job_command": "é" * 65_537}],
        [{"name": "a", "job_command": "true"}, {"name": "é" * 256, "job_command": "true"}],
    ],
)
def test_limits_hold_for_jobs_that_are_alike(jobs: Any) -> None:
    """Of the batch, and of each job's own fields: in bytes and in letters."""
    with pytest.raises(ValidationError):
        read_batch({"jobs": jobs})


def test_jobs_of_many_kinds_are_looked_at_one_by_one() -> None:
    """To look for what they share would be in vain."""
    jobs = [{"name": "a", "job_command": "true", "priority": nth} for nth in range(100)]
    assert isinstance(read_batch({"jobs": jobs}), BatchRequest)
    jobs = [{"name": "a", "job_command": "true", "priority": nth % 10} for nth in range(100)]
    assert isinstance(read_batch({"jobs": jobs}), AlikeJobs)


async def test_alike_jobs_are_answered_as_they_are_shown(user: Client) -> None:
    """Each as GET shows it afterwards, in the order of the batch, with one event."""
    asked: list[dict[str, Any]] = [
        {"name": f"% {{}} {nth}", "job_command": f'echo "{nth}"', "labels": {"n": str(nth % 2)}}
        for nth in range(6)
    ]
    asked += [{"name": "mail", "handler": "mail", "args": [nth, "é"]} for nth in range(3)]
    answer = await user.post("/api/v1/jobs/batch", json={"jobs": asked})
    assert answer.status_code == 201
    shown = answer.json()["jobs"]
    assert [job["name"] for job in shown] == [job["name"] for job in asked]
    assert [job["args"] for job in shown[6:]] == [[0, "é"], [1, "é"], [2, "é"]]
    for job in shown:
        assert (await user.get(f"/api/v1/jobs/{job['job_id']}")).json() == job
