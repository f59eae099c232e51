"""Operations that show jobs: one, its events, a list, and why one is not running."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.differences import DiffQuery, diff_answer
from reactorcide.api.errors import forbidden, not_found
from reactorcide.api.events.of_job import follow_job
from reactorcide.api.events.stream import EVENT_STREAM
from reactorcide.api.jobs.past import list_past_jobs
from reactorcide.api.jobs.render import (
    NO_KEYS,
    etag_of,
    job_answer,
    keys_of,
    render,
    render_event,
)
from reactorcide.api.jobs.requests import JobListQuery
from reactorcide.api.jobs.sight import stream_of, visible_job, visible_stream
from reactorcide.api.moments import AtQuery, check_past, up_to
from reactorcide.api.pages import envelope
from reactorcide.eventstore.domain.job import FINAL, Status
from reactorcide.eventstore.domain.worker import WorkerStatus
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import job_lists, jobs, workers
from reactorcide.projections.attempts import attempts_of
from reactorcide.projections.folding import facts_of
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.jobs import Job
from reactorcide.projections.paging import Page
from reactorcide.projections.workers import Worker

_SEEN_ALIVE: Final = timedelta(seconds=60)


async def get(call: Call[None, AtQuery]) -> Response:
    """Show one job, now or as it stood once; 304 when the caller has it as it stands."""
    if call.query.at is not None:
        return await job_answer(call.services.pool, await _at(call, call.query.at))
    job = await visible_job(call)
    tag = etag_of(job)
    asked = call.request.headers.get("if-none-match", "")
    if asked and _matches(asked, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return await job_answer(call.services.pool, job)


async def _at(call: Call[None, AtQuery], moment: int | datetime) -> Job:
    """Return a job as it stood. Raises Problem (404: it was not there; 422)."""
    recorded = await visible_stream(call)
    await check_past(call.services.pool, moment)
    job = jobs.fold(up_to(recorded, moment))
    if job is None or job.state.status is Status.DELETED:
        raise not_found(kind="job")
    return job


async def diff(call: Call[None, DiffQuery]) -> Response:
    """Say what changed in a job from one version to another."""

    def shown(events: Sequence[RecordedEvent]) -> dict[str, Any]:
        return render(jobs.folded(call.object_id, facts_of(events)))

    return diff_answer(call.query, await visible_stream(call), shown)


def _matches(asked: str, tag: str) -> bool:
    """Compare weakly, as RFC 9110 has it for If-None-Match."""
    tags = (part.strip().removeprefix("W/") for part in asked.split(","))
    return asked.strip() == "*" or tag in tags


async def list_jobs(call: Call[None, JobListQuery]) -> Response:
    """List jobs, newest first: a plain user's own, else everybody's; `at`: as of then."""
    query, caller = call.query, call.caller
    owner = query.user_id
    if not caller.sees_every_job:
        if owner is not None and owner != caller.user_id:
            raise forbidden(detail="Only an auditor, operator or admin sees jobs of others")
        owner = caller.user_id
    if query.at is not None:
        return await list_past_jobs(call, query.at, owner)
    wanted = JobFilter(
        user_id=owner,
        status=Status(query.status) if query.status else None,
        queue_name=query.queue_name,
        source_type=query.source_type,
        labels=query.label,
        created_after=query.created_after,
        created_before=query.created_before,
        q=query.q,
    )
    found = await job_lists.list_page(call.services.pool, wanted, query.page())
    keys = await keys_of(call.services.pool, found.rows)
    rows = [render(job, keys.get(job.job_id, NO_KEYS)) for job in found.rows]
    return json_answer(envelope("jobs", query, found, rows))


async def events(call: Call[None, None]) -> Response:
    """Show the events of a job, oldest first; followed to its end as an event stream."""
    job = await visible_job(call)
    if EVENT_STREAM in call.request.headers.get("accept", ""):
        return await follow_job(call, job)
    recorded = await stream_of(call)
    return json_answer({"events": [render_event(one) for one in recorded]})


async def attempts(call: Call[None, None]) -> Response:
    """Show the attempts of a job, the first one first."""
    await visible_job(call)
    recorded = await stream_of(call)
    return json_answer({"attempts": [asdict(one) for one in attempts_of(recorded)]})


async def explain(call: Call[None, None]) -> Response:
    """Say why a job is not running."""
    job = await visible_job(call)
    reasons = [{"code": code, "message": message} async for code, message in _reasons(call, job)]
    return json_answer({"status": job.state.status, "reasons": reasons})


async def _reasons(call: Call[Any, Any], job: Job) -> AsyncIterator[tuple[str, str]]:
    pool, state, now = call.services.pool, job.state, datetime.now(UTC)
    if state.status in FINAL:
        yield "ended", f"It ended as {state.status}"
        return
    if state.status is Status.CLAIMED:
        yield "starting", f"Worker {state.worker_id} has claimed it and is about to start it"
    if state.status not in {Status.SUBMITTED, Status.QUEUED}:
        return
    if state.available_at is not None and state.available_at > now:
        code = "retry_backoff" if state.attempt else "run_at"
        yield code, f"It waits until {state.available_at.isoformat()}"
    if state.status is Status.SUBMITTED:
        others = await jobs.get_many(pool, job.submitted.depends_on)
        for job_id in job.submitted.depends_on:
            status = others[job_id].state.status if job_id in others else "deleted"
            if status != Status.COMPLETED:
                yield "depends_on", f"It waits for job {job_id}, which is {status}"
        return
    found = await workers.list_page(pool, Page(limit=200))
    yield _worker_reason(job, _alive(found.rows, now))


def _alive(found: Iterable[Worker], now: datetime) -> list[Worker]:
    return [
        worker
        for worker in found
        if worker.status is WorkerStatus.ACTIVE
        and now - (worker.beat_at or worker.created_at) < _SEEN_ALIVE
    ]


def _worker_reason(job: Job, alive: list[Worker]) -> tuple[str, str]:
    queue, labels = job.submitted.queue_name, job.submitted.labels
    serving = [worker for worker in alive if queue in worker.queues]
    if not serving:
        return "no_worker", f"No live worker takes jobs of queue {queue}"
    if not any(labels.items() <= worker.labels.items() for worker in serving):
        return "no_worker_with_labels", f"No live worker of queue {queue} carries all its labels"
    return "no_free_slot", f"{len(serving)} workers take jobs of queue {queue}; others come first"
