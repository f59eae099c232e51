"""Whether this process lives, can serve, and what it counts. Open to all, tells no secrets."""

import asyncio
from typing import Final

from starlette.responses import Response

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import unavailable
from reactorcide.api.metrics import QUEUES_SHOWN
from reactorcide.api.settings import code_version
from reactorcide.eventstore.database import Pool
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.projections import checkpoints, queues
from reactorcide.projections.runner import FOLLOWING

_ANSWER_SECONDS: Final = 2.0
_METRICS: Final = "text/plain; version=1.0.0; charset=utf-8"


async def health(call: Call[None, None]) -> Response:
    """Say how this process and what it needs are doing; 503 without its database."""
    services = call.services
    await _ask(services.pool)
    content = {
        "status": "ok" if services.doorbell.is_up else "degraded",
        "version": code_version(),
        "checks": _checks(services.doorbell),
    }
    return json_answer(content)


def _checks(doorbell: Doorbell) -> dict[str, str]:
    """Return how the parts do, of a process whose database has just answered."""
    return {"database": "ok", "doorbell": "ok" if doorbell.is_up else "down"}


async def alive(_call: Call[None, None]) -> Response:
    """Say that this process answers at all."""
    return json_answer({"status": "alive"})


async def ready(call: Call[None, None]) -> Response:
    """Say that requests may be sent here: 503 without the database, or when it stops.

    Without its doorbell it is ready all the same, and says so: it looks instead of listening.
    """
    if call.services.feed.is_closing:
        raise unavailable(detail="The server is stopping")
    await _ask(call.services.pool)
    return json_answer({"status": "ready", "checks": _checks(call.services.doorbell)})


async def metrics(call: Call[None, None]) -> Response:
    """Show this process's counters, how many jobs have not ended, how projections follow."""
    services = call.services
    async with asyncio.timeout(_ANSWER_SECONDS):
        counts = await queues.count_largest(services.pool, QUEUES_SHOWN)
        standings = await checkpoints.standings(services.pool, FOLLOWING)
    services.metrics.set_jobs(counts)
    services.metrics.set_doorbell(is_up=services.doorbell.is_up, losses=services.doorbell.losses)
    services.metrics.set_projections(standings)
    return Response(services.metrics.text(), media_type=_METRICS)


async def _ask(pool: Pool) -> None:
    async with asyncio.timeout(_ANSWER_SECONDS):
        await pool.fetchval("SELECT 1")
