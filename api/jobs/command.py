"""Commands to a job that is there: cancel, kill, delete. Every answer is rendered from the fold."""

from typing import Any, Final

from starlette.responses import Response

from reactorcide.api.call import Call, no_content
from reactorcide.api.errors import conflict, forbidden
from reactorcide.api.jobs.render import job_answer
from reactorcide.api.jobs.sight import commandable_job
from reactorcide.eventstore.domain.errors import NotFound
from reactorcide.eventstore.domain.job import JOB, CancelJob, DeleteJob, JobCommand
from reactorcide.eventstore.handle import handle
from reactorcide.projections import jobs, unfinished_objects
from reactorcide.projections.jobs import Job

_KILLED: Final = "killed on request"


async def cancel(call: Call[None, None]) -> Response:
    """Cancel a job; one that runs gets TERM, and KILL ten seconds later."""
    return await job_answer(call.services.pool, await _commanded(call, CancelJob()))


async def kill(call: Call[None, None]) -> Response:
    """Cancel a job without grace."""
    job = await commandable_job(call)
    if not call.caller.commands_every_job:
        raise forbidden(detail="Only an operator or admin kills jobs")
    command = CancelJob(grace_seconds=0, reason=_KILLED)
    return await job_answer(call.services.pool, await _handled(call, job, command))


async def delete(call: Call[None, None]) -> Response:
    """Take an ended job off every list; its log and artifacts go soon after, its events stay."""
    job = await commandable_job(call)
    await unfinished_objects.note_deleted(call.services.pool, job.job_id)
    await _handled(call, job, DeleteJob())
    return no_content()


async def _commanded(call: Call[Any, Any], command: JobCommand) -> Job:
    return await _handled(call, await commandable_job(call), command)


async def _handled(call: Call[Any, Any], job: Job, command: JobCommand) -> Job:
    services = call.services
    try:
        handled = await handle(services.pool, services.jobs, JOB, job.job_id, command, call.context)
    except NotFound:  # but it was shown just now
        detail = "The job is archived: nothing changes it any more"
        raise conflict(detail, job.state.status) from None
    if handled.events:
        for topic in ("control", "jobs", "logs", "events"):
            services.doorbell.ring(topic)
    return jobs.after(handled)
