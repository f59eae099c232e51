"""Which job the path means, as far as the caller may see it: somebody else's is not there."""

from typing import Any

from reactorcide.api.call import Call
from reactorcide.api.errors import Hidden, forbidden, not_found
from reactorcide.eventstore import store
from reactorcide.eventstore.domain.job import Status
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import archives, jobs
from reactorcide.projections.jobs import Job


async def visible_job(call: Call[Any, Any]) -> Job:
    """Return the job in the path, from the archive if it is there. Raises Problem (404)."""
    job = await jobs.get(call.services.pool, call.object_id)
    caller = call.caller
    if job is None:
        recorded = await archived_stream(call)
        is_job = bool(recorded) and recorded[0].stream_type == "job"
        job = jobs.fold(recorded) if is_job else None
        if job is not None and job.state.status is Status.DELETED:
            raise not_found(kind="job")
    if job is None:
        raise not_found(kind="job")
    if not (job.submitted.user_id == caller.user_id or caller.sees_every_job):
        raise Hidden("job")
    return job


async def visible_stream(call: Call[Any, Any]) -> list[RecordedEvent]:
    """Return all that happened to the job in the path. Raises Problem (404).

    The past of a deleted job is for those who see every job.
    """
    recorded = await stream_of(call)
    job = jobs.fold(recorded) if recorded and recorded[0].stream_type == "job" else None
    is_own = job is not None and job.submitted.user_id == call.caller.user_id
    is_there = job is not None and job.state.status is not Status.DELETED
    if job is None or not (call.caller.sees_every_job or is_there):
        raise not_found(kind="job")
    if not (call.caller.sees_every_job or is_own):
        raise Hidden("job")
    return recorded


async def stream_of(call: Call[Any, Any]) -> list[RecordedEvent]:
    """Return all events of the object in the path, wherever they are."""
    recorded = await store.read_stream(call.services.pool, call.object_id)
    return recorded or await archived_stream(call)


async def archived_stream(call: Call[Any, Any]) -> list[RecordedEvent]:
    """Return the events of the object in the path, if they are in the archive."""
    services = call.services
    return await archives.read_stream(services.pool, services.objects, call.object_id)


async def commandable_job(call: Call[Any, Any]) -> Job:
    """Return the job in the path, if the caller may change it. Raises Problem (403, 404)."""
    job = await visible_job(call)
    if job.submitted.user_id != call.caller.user_id and not call.caller.commands_every_job:
        raise forbidden(detail="Only an operator or admin changes jobs of others")
    return job
