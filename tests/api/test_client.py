"""The client against a real server: every call of both kinds, and what they raise."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from reactorcide.api import account_views, views
from reactorcide.api.client import (
    Conflict,
    Event,
    Forbidden,
    InvalidInput,
    Job,
    JobRequest,
    Me,
    NotEnded,
    NotFound,
)
from reactorcide.api.jobs import requests
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.domain.job import Failed
from reactorcide.tests.api import work
from reactorcide.tests.api.calling import KINDS, Caller, Kind, calling
from reactorcide.tests.api.conftest import Place, token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.work import Piece

JOB = JobRequest(name="hello", job_command="echo hello")


async def test_a_job_is_submitted_with_every_field(caller: Caller) -> None:
    """What is given arrives; what is left out, or None, is the API's to choose."""
    first: Job = await caller.call("submit", **JOB)
    run_at = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    given: dict[str, Any] = {
        "description": "all of it",
        "source_type": "git",
        "git_url": "https://example.org/a.git",
        "git_ref": "main",
        "code_dir": "/job/code",
        "job_dir": "/job/code/sub",
        "runner_image": "debian",
        "job_env_vars": {"A": "b", "TOKEN": "secret"},
        "job_env_file": "env",
        "secret_env_vars": ("TOKEN",),
        "timeout_seconds": 60,
        "priority": -3,
        "queue_name": "slow",
        "max_attempts": 4,
        "on_lost_lease": "fail",
        "retry_backoff_seconds": 1.5,
        "run_at": run_at,
        "unique_key": "once",
        "labels": {"gpu": "yes"},
        "depends_on": (first.job_id,),
    }
    job: Job = await caller.call("submit", **JOB, **given, handler=None)
    assert job.status == "submitted"
    assert not job.has_ended
    shown = {name: getattr(job, name) for name in given}
    assert shown == {**given, "job_env_vars": {"A": "b", "TOKEN": "***"}}
    assert await caller.call("get", job.job_id) == await caller.call("get", str(job.job_id)) == job
    assert (await caller.call("submit", **JOB, queue_name=None)).queue_name == "default"


async def test_a_job_may_name_a_handler(caller: Caller) -> None:
    """With its arguments, and without a command."""
    args = {"to": ["a@example.org"], "retry": None}
    job: Job = await caller.call("submit", name="mail", handler="mail.send", args=args)
    assert (job.handler, job.args, job.job_command, job.result) == ("mail.send", args, None, None)


async def test_many_jobs_go_in_batches(services: Services, caller: Caller) -> None:
    """In order, any number of them, and once for one key."""
    jobs = [JobRequest(name=f"job {nth}", job_command="true") for nth in range(1002)]
    made: list[Job] = await caller.call("submit_many", jobs, idempotency_key="k")
    assert [job.name for job in made] == [job["name"] for job in jobs]
    again: list[Job] = await caller.call("submit_many", jobs, idempotency_key="k")
    assert [job.job_id for job in again] == [job.job_id for job in made]
    assert await services.pool.fetchval("SELECT count(*) FROM jobs") == 1002
    assert await caller.call("submit_many", []) == []


async def test_a_batch_is_never_larger_than_the_api_reads(caller: Caller) -> None:
    """Long jobs go in more batches."""
    jobs = [JobRequest(name="long", job_command="#" * 100_000)] * 25
    assert len(await caller.call("submit_many", jobs)) == 25


async def test_a_list_goes_through_all_pages(caller: Caller) -> None:
    """Newest first, as far as they are taken, by every filter."""
    jobs = [
        JobRequest(name=f"{n}", job_command="true", labels={"n": str(n % 2)}) for n in range(402)
    ]
    made: list[Job] = await caller.call("submit_many", jobs)
    names = [job.name for job in reversed(made)]
    assert [job.name for job in await caller.items("list")] == names
    assert [job.name for job in await caller.items("list", limit=201)] == names[:201]
    assert [job.name for job in await caller.items("list", count=3)] == names[:3]
    assert await caller.items("list", limit=0) == []
    odd = await caller.items("list", labels={"n": "1"}, status="queued", limit=5)
    assert [job.name for job in odd] == ["401", "399", "397", "395", "393"]
    later = datetime.now(UTC) + timedelta(days=1)
    assert await caller.items("list", queue_name="other") == []
    assert await caller.items("list", created_after=later) == []


async def test_a_job_is_commanded(caller: Caller) -> None:
    """Cancelled, tried again, deleted; its events tell."""
    job: Job = await caller.call("submit", **JOB)
    cancelled: Job = await caller.call("cancel", job.job_id)
    assert (cancelled.status, cancelled.has_ended) == ("cancelled", True)
    with pytest.raises(Conflict) as conflict:
        await caller.call("cancel", job.job_id)
    assert conflict.value.current_status == "cancelled"
    again: Job = await caller.call("retry", job.job_id)
    assert again.retry_of == job.job_id
    with pytest.raises(Forbidden):
        await caller.call("kill", again.job_id)
    events: tuple[Event, ...] = await caller.call("events", job.job_id)
    assert [event.type for event in events] == ["job.submitted", "job.cancelled"]
    assert [event.version for event in events] == [1, 2]
    assert events[0].data["name"] == "hello"
    assert (events[0].actor.type, events[0].actor.id) == ("user", job.user_id)
    assert await caller.call("delete", job.job_id) is None
    with pytest.raises(NotFound):
        await caller.call("get", job.job_id)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_operator_kills(services: Services, place: Place, kind: Kind) -> None:
    """Without grace."""
    token, _ = await token_for(services, "oskar", "operator")
    async with calling(kind, place.url, token) as caller:
        job: Job = await caller.call("submit", **JOB)
        assert (await caller.call("kill", job.job_id)).status == "cancelled"


async def test_a_log_is_read_and_followed(services: Services, caller: Caller) -> None:
    """Exactly the bytes that were printed, whole or in part."""
    job_id: UUID = (await caller.call("submit", **JOB)).job_id
    assert await caller.call("logs", job_id) == b""
    await work.start(services, str(job_id))
    pieces = (Piece(1, b"one\ntwo\n"), Piece(2, b"\xff\xfe", "stderr"), Piece(3, b"three\n"))
    await work.say(services, str(job_id), *pieces)
    assert await caller.call("logs", job_id) == b"one\ntwo\n\xff\xfethree\n"
    assert await caller.call("logs", job_id, stream="stderr") == b"\xff\xfe"
    assert await caller.call("logs", job_id, tail=1) == b"\xff\xfethree\n"
    assert await caller.call("logs", job_id, attempt=2) == b""
    assert await caller.call("logs", job_id, attempt="all", stream="stdout") == b"one\ntwo\nthree\n"
    following = asyncio.create_task(caller.items("follow_logs", job_id))
    await work.say(services, str(job_id), Piece(4, b"four\n"))
    await work.finish(services, str(job_id))
    frames = await following
    assert [(one.seq, one.stream, one.data) for one in frames] == [
        (1, "stdout", b"one\ntwo\n"),
        (2, "stderr", b"\xff\xfe"),
        (3, "stdout", b"three\n"),
        (4, "stdout", b"four\n"),
    ]
    assert await caller.items("follow_logs", job_id, count=1) == frames[:1]


async def test_a_wait_ends_with_the_job(services: Services, caller: Caller) -> None:
    """Told by the server; a wait that may not last raises, and the job goes on."""
    job_id: UUID = (await caller.call("submit", **JOB)).job_id
    await work.start(services, str(job_id))
    with pytest.raises(NotEnded) as over:
        await caller.call("wait", job_id, timeout_seconds=0.2)
    assert isinstance(over.value, TimeoutError)
    waiting = asyncio.create_task(caller.call("wait", job_id, timeout_seconds=10))
    await work.say(services, str(job_id), Piece(1, b"much to say\n"))
    await work.finish(services, str(job_id), Failed(3, "exit code 3"))
    async with asyncio.timeout(5):
        ended: Job = await waiting
    assert (ended.status, ended.exit_code) == ("failed", 3)
    assert (await caller.call("wait", job_id)) == ended


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wait_needs_no_right_to_read_logs(
    services: Services, place: Place, kind: Kind
) -> None:
    """Then it asks now and then."""
    token, _ = await token_for(services, "una", scopes=("jobs:read", "jobs:write"))
    async with calling(kind, place.url, token) as caller:
        job_id: UUID = (await caller.call("submit", **JOB)).job_id
        with pytest.raises(NotEnded):
            await caller.call("wait", job_id, timeout_seconds=0.2)
        waiting = asyncio.create_task(caller.call("wait", job_id, timeout_seconds=10))
        await work.run(services, str(job_id))
        assert (await waiting).status == "completed"


async def test_a_wait_outlives_its_signs_of_life(settings: ApiSettings) -> None:
    """Heartbeats don't make a wait longer than was asked for."""
    async with (
        open_services(replace(settings, heartbeat_seconds=0.1)) as services,
        serving(services) as url,
        calling(KINDS[1], url, (await token_for(services, "una"))[0]) as caller,
    ):
        job_id = (await caller.call("submit", **JOB)).job_id
        began = asyncio.get_running_loop().time()
        with pytest.raises(NotEnded):
            await caller.call("wait", job_id, timeout_seconds=2.5)
        assert 2.4 < asyncio.get_running_loop().time() - began < 4


async def test_the_caller_is_told_who_it_is(caller: Caller) -> None:
    """With what its token opens."""
    me: Me = await caller.call("me")
    assert (me.user.username, me.user.roles) == ("una", ("user",))
    assert "jobs:write" in me.token.scopes


def test_the_models_know_every_field_of_the_api() -> None:
    """Of jobs as they are answered and as they are asked for, of events and of callers."""
    assert views.JobView.model_fields.keys() <= Job.model_fields.keys()
    assert views.EventView.model_fields.keys() == Event.model_fields.keys()
    assert requests.JobRequest.model_fields.keys() == JobRequest.__annotations__.keys()
    assert account_views.MeView.model_fields.keys() == Me.model_fields.keys()


def test_a_newer_servers_words_do_no_harm() -> None:
    """An unknown field is ignored, an unknown status is a text."""
    now = datetime.now(UTC).isoformat()
    job = Job.model_validate(
        {
            **dict.fromkeys(["job_id", "user_id"], str(uuid4())),
            **dict.fromkeys(["name", "source_type", "on_lost_lease", "queue_name"], "new"),
            **dict.fromkeys(["version", "timeout_seconds", "priority", "attempt"], 1),
            **dict.fromkeys(["max_attempts", "retry_backoff_seconds"], 1),
            **dict.fromkeys(["created_at", "updated_at"], now),
            "code_dir": "/job",
            "job_dir": "/job",
            "labels": {},
            "job_env_vars": {},
            "depends_on": [],
            "secret_env_vars": [],
            "status": "paused",
            "moon": "full",
        }
    )
    assert (job.status, job.has_ended) == ("paused", False)


async def test_events_are_followed(services: Services, caller: Caller) -> None:
    """From a position on, as the job's list has them; a job's own to its end."""
    job_id: UUID = (await caller.call("submit", **JOB)).job_id
    following = asyncio.create_task(caller.items("follow_job_events", job_id))
    await work.run(services, str(job_id))
    events: tuple[Event, ...] = await caller.call("events", job_id)
    assert tuple(await following) == events
    before = events[0].position - 1
    assert tuple(await caller.items("follow_events", after=before, count=4)) == events
    with pytest.raises(InvalidInput):
        await caller.items("follow_events", after=10**15)
